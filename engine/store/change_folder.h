// ChangeFolder: keeps as many change masks as there are points to ask from, not as many as there ever were.
//
// Masks stand by branch and epoch (layout/keys.h), and whoever asks for changes asks between two points of a
// branch: nodes, bookmarks, forks. So where points have left, all masks between the two that are left may
// stand at one epoch: the answers are the same. The place is the oldest epoch that has some, for there mostly
// are the most: what moves when the oldest of many snapshots goes is what the next one changed. Where no
// point is left behind an epoch nobody can ask, and its masks go. Points never come into being in the past,
// so what was right once stays right. The epoch of a head grows, and is left alone until it is closed. Not
// while a ChangeCursor is open, whose ends may have left the tree. Why a crash changes no answer is in
// docs/durability.md, rules 55 to 57. Thread: the store's scheduler.
#pragma once

#include <deque>
#include <optional>
#include <vector>

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
  // `checkpoint`: the last one that had begun when it left. When a later one is whole the map has
  // all masks of its epoch.
  struct Left {
    View point;
    std::uint64_t checkpoint = 0;
  };
  // What is to be done where the first of left_ stood.
  struct Plan {
    std::optional<Epoch> into;
    std::vector<Epoch> from;  // rising; done from the back
    LeafIndex next{0};        // of the last of them
  };
  void take_left();
  Task<Result<>> look();
  Task<Result<Plan>> make_plan(View left);
  Task<Result<MetaBatch>> fold_some();

  Parts& parts_;
  MetaStore& meta_;
  Checkpointer& checkpointer_;
  std::deque<Left> left_;
  std::optional<Plan> plan_;
  std::optional<View> looked_up_to_;
};

}  // namespace coppice
