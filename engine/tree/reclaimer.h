// Reclaimer: gives back the space of dead nodes, in the background, without copying data.
//
// One step handles a few leaves: it looks at the node's version and at its children's, and stages one record
// that deletes the version (or makes holes of what nobody sees), frees the blocks and moves the cursor. With
// at most one child the step is atomic against the head's writes, since Tree::free_floor() hands the leaf
// over to the head as the cursor passes. With several children the node stays as a fork in the tree. What
// nobody alive sees below it is freed, and taken out of the versions of dead nodes on the way down as well.
// It is swept again when something below it has gone, and behind all others; in the end when there is one
// child left.
//
// Where the only child is a snapshot that is durable, nobody writes to what a step looks at: it commits
// nothing and holds nobody off. Else it stands between two commits. Threads: the store's scheduler. One sweep
// at a time.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "coppice/scheduler.h"
#include "journal/journal.h"
#include "map/leaf_map.h"
#include "pool/allocator.h"
#include "pool/pending.h"
#include "tree/charges.h"
#include "tree/leaf_gate.h"
#include "tree/tree.h"

namespace coppice {

class Reclaimer {
 public:
  static constexpr std::size_t kMostLeavesPerStep = 32;
  Reclaimer(Tree& tree, LeafMap& map, Journal& journal, Allocator& allocator, PendingBlocks& pending,
            LeafGate& gate, Charges& charges)
      : tree_(tree),
        map_(map),
        journal_(journal),
        allocator_(allocator),
        pending_(pending),
        gate_(gate),
        charges_(charges) {}

  // Of one step; at most what it is by itself.
  void set_leaves_per_step(std::size_t leaves) { leaves_per_step_ = std::min(leaves, kMostLeavesPerStep); }
  // They want their turn soon: steps are small.
  void set_guests_at_work(bool at_work) { guests_at_work_ = at_work; }
  // Heads may have written over what a fork holds for them: forks are swept again.
  void look_again();
  // A dead node that a sweep could give something back for.
  [[nodiscard]] bool has_work() const;
  // Dead nodes that are not done, also those that something still needs; of one disk, or of all.
  struct Backlog {
    std::uint64_t nodes = 0;
    std::uint64_t looked_bytes = 0;
    std::uint64_t total_bytes = 0;
  };
  [[nodiscard]] Backlog backlog(std::optional<DiskId> disk) const;
  // Awaited between two steps, so that others have their turn.
  using Pace = std::function<Task<void>()>;
  // Sweeps one such node to its end. Stops early, without error, when `stop` becomes true.
  Task<Result<>> sweep_one(const bool& stop, const Pace& pace);

 private:
  struct Step;
  using Changes = std::span<const LeafMap::Change>;
  [[nodiscard]] TreeNode* to_sweep(NodeId id) const;
  NodeId pick_begun();
  NodeId pick();
  Task<Result<>> sweep(NodeId node, const bool& stop, const Pace& pace);
  Task<void> prefetch(NodeId node, Changes changes);
  Task<Result<>> steps(NodeId node, Changes changes, std::optional<LeafIndex> end, const bool& stop,
                       const Pace& pace);
  // What all snapshots hold that are there now becomes durable, and stays as it is.
  Task<Result<>> settle();
  [[nodiscard]] bool child_is_settled(const TreeNode& node) const;
  Task<Result<>> step_with_one_child(NodeId node, Changes changes, LeafIndex next);
  Task<Result<>> step_with_children(NodeId node, Changes changes);
  std::optional<ReclaimRecord> judge(NodeId node, Changes changes, const Step& step);
  Task<Result<>> judge_leaf(NodeId node, LeafIndex index, Step& step, ReclaimRecord& into);
  Task<Result<std::uint64_t>> unseen(CachedLeaf& own, Epoch ancestor, std::vector<NodeId> viewers);
  Task<Result<>> add_copies(CachedLeaf& own, std::uint64_t mask, std::vector<NodeId> dead, Step& step,
                            std::vector<ReclaimedVersion>& into);
  void look_above(NodeId node);
  Task<Result<CachedLeaf*>> load_own(View view, LeafIndex index);
  Task<Result<>> load_step(NodeId node, Changes changes, Step& step);
  Task<Result<>> finish(NodeId node);
  Task<Result<>> publish(ReclaimRecord record);
  // One step between a commit of all that it may look at and a commit of what it staged.
  // `next`: where the cursor goes, for a node that leaves the tree.
  Task<Result<>> step(NodeId node, Changes changes, std::optional<LeafIndex> next);
  // … without the commits.
  Task<Result<>> settled_step(NodeId node, Changes changes, LeafIndex next);
  void note_uncharged(const TreeNode& node, const Leaf& leaf, std::uint64_t mask);
  void close_gate(const TreeNode& node, Changes changes);

  Tree& tree_;
  LeafMap& map_;
  Journal& journal_;
  Allocator& allocator_;
  PendingBlocks& pending_;
  LeafGate& gate_;
  Charges& charges_;
  [[nodiscard]] std::size_t leaves_of_step(const TreeNode& node) const;
  std::size_t leaves_per_step_ = kMostLeavesPerStep;
  bool guests_at_work_ = false;
  std::map<DiskId, std::uint64_t> uncharged_;  // by the record that is being made
  NodeId settled_{0};                          // snapshots of smaller ids are
  std::optional<std::set<NodeId>> begun_;      // sweeps that take their node out of the tree
};

}  // namespace coppice
