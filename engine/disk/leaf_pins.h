// LeafPins: the leaves under a range of a head, all in memory at once.
#pragma once

#include <algorithm>
#include <array>
#include <memory_resource>
#include <vector>

#include "disk/head.h"

namespace coppice {

class LeafPins {
 public:
  explicit LeafPins(Parts& parts) : parts_(parts), leaves_(&memory_) {}
  ~LeafPins() { drop(); }
  LeafPins(const LeafPins&) = delete;
  LeafPins& operator=(const LeafPins&) = delete;

  // The leaves of [first, first + count) as seen from `view`. When it returns they are all there, found
  // without a suspension after the last one came in.
  Task<Result<>> pin(View view, BlockIndex first, std::uint64_t count);
  // True if all were in memory.
  bool try_pin(View view, BlockIndex first, std::uint64_t count);
  void drop();
  [[nodiscard]] CachedLeaf& at(LeafIndex leaf) { return *leaves_[leaf.value - first_leaf_.value]; }

 private:
  Parts& parts_;
  LeafIndex first_leaf_;
  // Most requests lie in one leaf or two.
  std::array<std::byte, 4 * sizeof(CachedLeaf*)> room_;
  std::pmr::monotonic_buffer_resource memory_{room_.data(), room_.size()};
  std::pmr::vector<CachedLeaf*> leaves_;
};

// Calls visit(leaf index, first index in leaf, count, offset in the range) for each leaf's part of a range.
template <class Visit>
void for_each_leaf(BlockIndex first, std::uint64_t count, Visit visit) {
  for (std::uint64_t done = 0; done < count;) {
    const BlockIndex block = first.next(done);
    const unsigned from = index_in_leaf(block);
    const auto part = static_cast<unsigned>(std::min<std::uint64_t>(kLeafBlocks - from, count - done));
    visit(leaf_of(block), from, part, done);
    done += part;
  }
}

constexpr std::uint64_t leaf_mask(unsigned first, unsigned count) {
  return count == kLeafBlocks ? ~std::uint64_t{0} : ((std::uint64_t{1} << count) - 1) << first;
}

}  // namespace coppice
