// IoMemory: the area that aligned buffers come from, where a thread does I/O by a ring that can register it.
//
// The kernel looks up and pins the pages of a buffer at every request, unless they belong to memory that is
// registered: 5 to 8 % of the CPU time of a 4 KiB request. The area is one stretch of address space that
// takes memory as it is touched, and all of it (32 MiB) once a ring registers it. What does not fit comes
// from the heap. Threads: any; held for a moment by one.
#pragma once

#include <cstddef>
#include <span>

namespace coppice {

// From now on. Does nothing the second time, or in a program built to find wrong memory accesses.
void enable_io_memory();
// Empty until enabled. Stays where it is.
[[nodiscard]] std::span<std::byte> io_memory();

// `bytes`: a multiple of 4 KiB. Null where the area has no room for that.
[[nodiscard]] std::byte* take_io_memory(std::size_t bytes);
// False: it is not of the area.
bool give_back_io_memory(std::byte* memory);

}  // namespace coppice
