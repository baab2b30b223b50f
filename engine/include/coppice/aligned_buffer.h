// Memory aligned for O_DIRECT: starts and ends on a 4 KiB boundary. Contents are undefined when made.
//
// Large ones go back to the system when they are released, so that what a client of large requests once
// needed is not the program's for ever. Threads: any, one at a time for each buffer.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

namespace coppice {

struct ReleaseAligned {
  void operator()(std::byte* memory) const;
  std::size_t mapped_bytes = 0;  // 0: of the heap, or of the area for I/O
};

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t bytes);  // capacity rounded up to 4 KiB; terminates if memory is out
  [[nodiscard]] std::byte* data() const { return memory_.get(); }
  [[nodiscard]] std::size_t size() const { return memory_ ? size_ : 0; }  // moved from: 0
  [[nodiscard]] bool empty() const { return size() == 0; }
  [[nodiscard]] std::span<std::byte> span() const { return {memory_.get(), size()}; }
  [[nodiscard]] std::span<std::byte> first(std::size_t bytes) const { return span().first(bytes); }

 private:
  std::unique_ptr<std::byte, ReleaseAligned> memory_;
  std::size_t size_ = 0;
};

[[nodiscard]] bool is_block_aligned(const void* memory);

}  // namespace coppice
