#include "disk/leaf_pins.h"

namespace coppice {

void LeafPins::drop() {
  for (CachedLeaf* leaf : leaves_) parts_.map.unpin(leaf);
  leaves_.clear();
}

bool LeafPins::try_pin(View view, BlockIndex first, std::uint64_t count) {
  drop();
  first_leaf_ = leaf_of(first);
  const LeafIndex last = leaf_of(first.next(count - 1));
  for (LeafIndex leaf = first_leaf_; leaf <= last; leaf = leaf.next()) {
    CachedLeaf* found = parts_.map.find(view, leaf);
    if (found == nullptr) {
      drop();
      return false;
    }
    leaves_.push_back(found);
  }
  return true;
}

Task<Result<>> LeafPins::pin(View view, BlockIndex first, std::uint64_t count) {
  while (!try_pin(view, first, count)) {
    // Held until all are found, so that one does not push out the other.
    std::vector<CachedLeaf*> held;
    Result<> status;
    const LeafIndex last = leaf_of(first.next(count - 1));
    for (LeafIndex leaf = leaf_of(first); leaf <= last && status; leaf = leaf.next()) {
      auto loaded = co_await parts_.map.load(view, leaf);
      if (loaded) {
        held.push_back(*loaded);
      } else {
        status = std::unexpected(loaded.error());
      }
    }
    const bool all = status && try_pin(view, first, count);
    for (CachedLeaf* leaf : held) parts_.map.unpin(leaf);
    if (!status || all) co_return status;
  }
  co_return Result<>{};
}

}  // namespace coppice
