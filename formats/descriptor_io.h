// Whole reads and writes on a descriptor, through the reactor's ring.
//
// Lives on the reactor's thread; spans outlive the task. A descriptor that is in non-blocking mode is waited
// for. `kStreamOffset` reads and writes at the descriptor's own position (pipes, sockets).
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "coppice/reactor.h"
#include "coppice/result.h"
#include "coppice/task.h"

namespace coppice::formats {

inline constexpr std::uint64_t kStreamOffset = UINT64_MAX;

// Fills `into`, or as much of it as there is before the end.
Task<Outcome<std::size_t>> read_fully(Reactor& reactor, int descriptor, std::span<std::byte> into,
                                      std::uint64_t offset_bytes);
Task<Outcome<>> write_fully(Reactor& reactor, int descriptor, std::span<const std::byte> from,
                            std::uint64_t offset_bytes);

// A failure of a system call on the image, with its errno in words.
std::unexpected<Failure> image_failure(int errno_value, const std::string& doing);

}  // namespace coppice::formats
