// What only one node sees: the blocks that go when it goes.
//
// A block's viewers form a connected piece of the tree, so asking the node's neighbours is exact: no ancestor
// sees a block born after the nearest ancestor's epoch, and of the descendants it is enough to ask the
// children.
#pragma once

#include <span>
#include <unordered_map>
#include <vector>

#include "layout/record.h"
#include "map/leaf_map.h"
#include "tree/tree.h"

namespace coppice {

// `seen_mask`: blocks of `leaf` at whose place a child has the same physical block.
std::uint64_t seen_by(const CachedLeaf& leaf, const CachedLeaf& child);
bool same_version(const CachedLeaf& a, const CachedLeaf& b);
// Data blocks born after `ancestor`.
std::uint64_t born_after(const CachedLeaf& leaf, Epoch ancestor);
// The physical runs of the blocks in `mask`.
void append_runs(const Leaf& leaf, std::uint64_t mask, std::vector<PhysicalRun>& into);
// The version that a lookup found, wherever it stands.
LeafKey version_of(const CachedLeaf& leaf);

// Data blocks that this node sees and no other live one.
Task<Result<std::uint64_t>> exclusive_blocks(Tree& tree, LeafMap& map, NodeId node);
// Data blocks that these nodes see and no other live one: what their removal together gives back.
Task<Result<std::uint64_t>> exclusive_blocks(Tree& tree, LeafMap& map, std::vector<NodeId> nodes);
// Data blocks that any of these live nodes sees.
Task<Result<std::uint64_t>> seen_blocks(Tree& tree, LeafMap& map, std::vector<NodeId> nodes);
// Data blocks that the disk's heads wrote and one of its nodes sees; once nothing is left to be reclaimed,
// all that is charged to it (charges.h).
Task<Result<std::uint64_t>> charged_blocks(Tree& tree, LeafMap& map, DiskId disk);
// Data blocks that are seen from there.
Task<Result<std::uint64_t>> visible_blocks(LeafMap& map, View view);

// Data blocks that live nodes see, asked for one after the other: of a line of them the first is counted
// whole, of the others what changed. No verb may run meanwhile.
class VisibleBlocks {
 public:
  VisibleBlocks(Tree& tree, LeafMap& map) : tree_(tree), map_(map) {}
  Task<Result<std::uint64_t>> of(NodeId node);

 private:
  Tree& tree_;
  LeafMap& map_;
  std::unordered_map<NodeId, std::uint64_t> known_;
};

// Who stands below a node: the live ones that are met first on each way down, and the dead ones passed on it.
// A dead node that something still needs counts as live.
struct Below {
  std::vector<NodeId> live;
  std::vector<NodeId> dead;
  bool operator==(const Below&) const = default;
};
Below below(const Tree& tree, const TreeNode& node);

// The stretches in which a node's own blocks were born.
std::vector<Tree::Stretch> own_stretches(const Tree& tree, const TreeNode& node);
// Those in which any leaf was written that holds a block for the node alone: where its own blocks were born,
// or where its one child, a snapshot, wrote since. The shorter of both: each epoch costs a look, and those of
// deleted snapshots stay in the change masks, so that the oldest of many would look at all that were older.
std::vector<Tree::Stretch> swept_stretches(const Tree& tree, const TreeNode& node);
// Its one child is a snapshot that no write is under way for.
bool stands_over_snapshot(const Tree& tree, const TreeNode& node);
Epoch parent_epoch(const Tree& tree, const TreeNode& node);

}  // namespace coppice
