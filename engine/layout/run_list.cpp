#include "layout/run_list.h"

#include <algorithm>
#include <cassert>

namespace coppice {

RunList::RunList(const RunList& other) {
  reserve(other.size_);
  std::ranges::copy(other.all(), data());
  size_ = other.size_;
}

bool RunList::operator==(const RunList& other) const {
  return std::ranges::equal(all(), other.all());
}

void RunList::reserve(std::size_t count) {
  if (count <= capacity_) return;
  assert(count <= kLeafBlocks);
  auto* wider = new LeafRun[count];
  std::ranges::copy(all(), wider);
  if (on_heap()) delete[] room_.many;
  room_.many = wider;
  capacity_ = static_cast<std::uint8_t>(count);
}

void RunList::splice(std::size_t low, std::size_t high, std::span<const LeafRun> pieces) {
  const std::size_t size = size_ - (high - low) + pieces.size();
  if (size > capacity_)
    reserve(std::min<std::size_t>(std::max(size, std::size_t{2} * capacity_), kLeafBlocks));
  LeafRun* const runs = data();
  if (low + pieces.size() <= high) {
    std::copy(runs + high, runs + size_, runs + low + pieces.size());
  } else {
    std::copy_backward(runs + high, runs + size_, runs + size);
  }
  std::ranges::copy(pieces, runs + low);
  size_ = static_cast<std::uint8_t>(size);
}

}  // namespace coppice
