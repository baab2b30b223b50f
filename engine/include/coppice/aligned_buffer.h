// Memory aligned for O_DIRECT: starts and ends on a 4 KiB boundary. Contents are undefined when made.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

namespace coppice {

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
  struct Release {
    void operator()(std::byte* memory) const;
  };
  std::unique_ptr<std::byte, Release> memory_;
  std::size_t size_ = 0;
};

[[nodiscard]] bool is_block_aligned(const void* memory);

}  // namespace coppice
