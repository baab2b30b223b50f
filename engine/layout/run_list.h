// RunList: the runs of a leaf. One run, the whole of a contiguous leaf, stands inside; more on the heap.
//
// Nearly all leaves of a disk in memory have one run: a list of its own would be another heap block and, at
// each look-up, another cache miss.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "coppice/types.h"

namespace coppice {

struct LeafRun {
  enum class Kind : std::uint8_t { kHole = 0, kZero = 1, kData = 2 };
  std::uint8_t first = 0;  // index of the block within the leaf
  std::uint8_t count = 0;  // 1 … 64
  Kind kind = Kind::kHole;
  PhysicalBlock physical;  // of the first block; kData only
  Epoch birth;             // the epoch that wrote it; all blocks of a run alike
  bool operator==(const LeafRun&) const = default;
  [[nodiscard]] unsigned end() const { return unsigned{first} + count; }
};

class RunList {
 public:
  RunList() = default;
  RunList(const RunList& other);
  RunList(RunList&& other) noexcept { swap(other); }
  RunList& operator=(RunList other) noexcept {
    swap(other);
    return *this;
  }
  ~RunList() {
    if (on_heap()) delete[] room_.many;
  }

  [[nodiscard]] std::span<const LeafRun> all() const { return {data(), size_}; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] const LeafRun& operator[](std::size_t at) const { return data()[at]; }
  // What it takes beyond its own size.
  [[nodiscard]] std::size_t heap_bytes() const { return on_heap() ? capacity_ * sizeof(LeafRun) : 0; }
  bool operator==(const RunList& other) const;

  // At most 64 in all.
  void reserve(std::size_t count);
  void push_back(const LeafRun& run) { splice(size_, size_, {&run, 1}); }
  // Puts `pieces` where runs [low, high) were. They are not runs of this list.
  void splice(std::size_t low, std::size_t high, std::span<const LeafRun> pieces);

 private:
  union Room {
    Room() : one() {}
    LeafRun one;
    LeafRun* many;
  };
  [[nodiscard]] bool on_heap() const { return capacity_ > 1; }
  [[nodiscard]] const LeafRun* data() const { return on_heap() ? room_.many : &room_.one; }
  [[nodiscard]] LeafRun* data() { return on_heap() ? room_.many : &room_.one; }
  void swap(RunList& other) noexcept {
    std::swap(room_, other.room_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }

  Room room_;
  std::uint8_t size_ = 0;
  std::uint8_t capacity_ = 1;
};
static_assert(sizeof(RunList) == 32);

}  // namespace coppice
