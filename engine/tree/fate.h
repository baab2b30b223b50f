// What only one node sees: the blocks that go when it goes.
//
// A block's viewers form a connected piece of the tree, so asking the node's neighbours is exact: no ancestor
// sees a block born after the nearest ancestor's epoch, and of the descendants it is enough to ask the
// children.
#pragma once

#include <span>
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
// Data blocks that the node sees, its own or not.
Task<Result<std::uint64_t>> visible_blocks(Tree& tree, LeafMap& map, NodeId node);

// The stretches in which a node's own blocks were born.
std::vector<Tree::Stretch> own_stretches(const Tree& tree, const TreeNode& node);
Epoch parent_epoch(const Tree& tree, const TreeNode& node);

}  // namespace coppice
