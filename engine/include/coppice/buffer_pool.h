// BufferPool: 4 KiB aligned buffers for payloads, kept for reuse so that the data path does not reach the
// heap in steady state.
//
// Buffers come in powers of two. At most kKeptBytes of unused memory are kept. One thread.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <utility>
#include <vector>

#include "coppice/aligned_buffer.h"
#include "coppice/types.h"

namespace coppice {

class BufferPool {
 public:
  static constexpr std::size_t kKeptBytes = std::size_t{8} << 20;

  // At least `bytes` long, at most 32 MiB; contents undefined.
  AlignedBuffer take(std::size_t bytes) {
    auto& shelf = shelves_[shelf_of(bytes)];
    if (shelf.empty()) return AlignedBuffer(kBlockBytes << shelf_of(bytes));
    AlignedBuffer buffer = std::move(shelf.back());
    shelf.pop_back();
    kept_bytes_ -= buffer.size();
    return buffer;
  }

  void give(AlignedBuffer buffer) {
    if (buffer.empty() || kept_bytes_ + buffer.size() > kKeptBytes) return;
    kept_bytes_ += buffer.size();
    shelves_[shelf_of(buffer.size())].push_back(std::move(buffer));
  }

  [[nodiscard]] std::size_t kept_bytes() const { return kept_bytes_; }

 private:
  static std::size_t shelf_of(std::size_t bytes) {
    const std::size_t blocks = bytes <= kBlockBytes ? 1 : (bytes + kBlockBytes - 1) / kBlockBytes;
    return static_cast<std::size_t>(std::bit_width(std::bit_ceil(blocks)) - 1);
  }
  static constexpr std::size_t kShelves = std::bit_width(kMaxRequestBytes / kBlockBytes);
  std::array<std::vector<AlignedBuffer>, kShelves> shelves_;
  std::size_t kept_bytes_ = 0;
};

}  // namespace coppice
