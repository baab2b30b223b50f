// ChangeFolder: gives the change masks of points that have left the tree to the next point of their branch.
//
// Masks stand by branch and epoch (layout/keys.h), and whoever asks for changes asks between two points of a
// branch: nodes, bookmarks, forks. So where no point is left between an epoch and the next point, the masks of
// the one may as well be the other's: the answers are the same, and there are as many masks as points have
// them, however many snapshots have come and gone. Where no point is left behind an epoch nobody can ask, and
// its masks go. Points never come into being in the past, so what was right once stays right.
// Of a branch the oldest go first, for the copy of the metadata may be a step ahead of the map.
// Not while a ChangeCursor is open, whose ends may have left the tree; and only behind a checkpoint that knows
// the tree without the point (docs/durability.md, rule 55). Thread: the store's scheduler.
#pragma once

#include <deque>
#include <optional>

#include "disk/parts.h"
#include "map/meta_store.h"
#include "store/checkpointer.h"

namespace coppice {

class ChangeFolder {
 public:
  ChangeFolder(Parts& parts, MetaStore& meta, Checkpointer& checkpointer)
      : parts_(parts), meta_(meta), checkpointer_(checkpointer) {}

  // What left the tree in an earlier life may not have been done: all masks are looked at once.
  void look_at_all() { looked_up_to_ = View{}; }
  // True: there was something to do, and there may be more. A failure to read has changed nothing; behind one
  // to write the store has stopped.
  Task<Result<bool>> step();

 private:
  // `checkpoint`: the last one that had begun when it left.
  struct Left {
    Tree::Point point;
    std::uint64_t checkpoint = 0;
  };
  void take_left();
  Task<Result<>> look();
  Task<Result<MetaBatch>> fold_first();

  Parts& parts_;
  MetaStore& meta_;
  Checkpointer& checkpointer_;
  std::deque<Left> left_;
  std::optional<View> looked_up_to_;
};

}  // namespace coppice
