// ChangeCursor: the leaves that were written on a path of the tree, in order, a piece at a time.
//
// The ends of its stretches were points of the tree when it was made; they may leave the tree meanwhile.
#pragma once

#include <vector>

#include "map/leaf_map.h"
#include "tree/tree.h"

namespace coppice {

class ChangeCursor {
 public:
  // Leaves in [from, to) that changed in any of the stretches.
  ChangeCursor(LeafMap& map, std::vector<Tree::Stretch> stretches, LeafIndex from, LeafIndex to)
      : map_(map), stretches_(std::move(stretches)), next_(from), end_(to) {
    map_.hold_changes();
  }
  ChangeCursor(const ChangeCursor&) = delete;
  ChangeCursor& operator=(const ChangeCursor&) = delete;
  ~ChangeCursor() { map_.release_changes(); }

  // Up to about `max` leaves with the blocks that were written; empty when there are no more. Asked for by
  // fewer, the map is asked for more at once: each time costs a look at every epoch of the stretches. So what
  // is written meanwhile may be missed.
  Task<Result<std::vector<LeafMap::Change>>> next(std::size_t max);
  // Everything below was handed out.
  [[nodiscard]] LeafIndex position() const { return given_ < ready_.size() ? ready_[given_].leaf : next_; }

 private:
  Task<Result<>> fetch(std::size_t max);
  LeafMap& map_;
  std::vector<Tree::Stretch> stretches_;
  LeafIndex next_;
  LeafIndex end_;
  std::vector<LeafMap::Change> ready_;  // up to next_; handed out as far as given_
  std::size_t given_ = 0;
};

inline constexpr LeafIndex kLastLeaf{kMaxDiskBytes / kBlockBytes / kLeafBlocks};

}  // namespace coppice
