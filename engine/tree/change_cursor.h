// ChangeCursor: the leaves that were written on a path of the tree, in order, a piece at a time.
#pragma once

#include <vector>

#include "map/leaf_map.h"
#include "tree/tree.h"

namespace coppice {

class ChangeCursor {
 public:
  // Leaves in [from, to) that changed in any of the stretches.
  ChangeCursor(LeafMap& map, std::vector<Tree::Stretch> stretches, LeafIndex from, LeafIndex to)
      : map_(map), stretches_(std::move(stretches)), next_(from), end_(to) {}

  // Up to about `max` leaves with the blocks that were written; empty when there are no more.
  Task<Result<std::vector<LeafMap::Change>>> next(std::size_t max);
  // Everything below was handed out.
  [[nodiscard]] LeafIndex position() const { return next_; }

 private:
  LeafMap& map_;
  std::vector<Tree::Stretch> stretches_;
  LeafIndex next_;
  LeafIndex end_;
};

inline constexpr LeafIndex kLastLeaf{kMaxDiskBytes / kBlockBytes / kLeafBlocks};

}  // namespace coppice
