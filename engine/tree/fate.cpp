#include "tree/fate.h"

#include <algorithm>
#include <bit>
#include <map>
#include <set>
#include <vector>

#include "tree/change_cursor.h"

namespace coppice {

LeafKey version_of(const CachedLeaf& leaf) {
  if (leaf.inherited) return {leaf.origin_branch, leaf.index, leaf.origin_version};
  return {leaf.branch, leaf.index, leaf.version};
}

bool same_version(const CachedLeaf& a, const CachedLeaf& b) {
  return version_of(a) == version_of(b);
}

std::uint64_t seen_by(const CachedLeaf& leaf, const CachedLeaf& child) {
  std::uint64_t seen = 0;
  for (const LeafRun& run : leaf.leaf.runs()) {
    if (run.kind != LeafRun::Kind::kData) continue;
    for (unsigned index = run.first; index < run.end();) {
      const LeafRun theirs = child.leaf.run_at(index);
      const unsigned end = std::min(run.end(), theirs.end());
      const std::uint64_t ours = run.physical.value + (index - run.first);
      if (theirs.kind == LeafRun::Kind::kData && theirs.physical.value == ours) {
        for (unsigned bit = index; bit < end; ++bit) seen |= std::uint64_t{1} << bit;
      }
      index = end;
    }
  }
  return seen;
}

std::uint64_t born_after(const CachedLeaf& leaf, Epoch ancestor) {
  std::uint64_t mask = 0;
  for (const LeafRun& run : leaf.leaf.runs()) {
    if (run.kind != LeafRun::Kind::kData || run.birth <= ancestor) continue;
    for (unsigned bit = run.first; bit < run.end(); ++bit) mask |= std::uint64_t{1} << bit;
  }
  return mask;
}

void append_runs(const Leaf& leaf, std::uint64_t mask, std::vector<PhysicalRun>& into) {
  for (const LeafRun& run : leaf.runs()) {
    if (run.kind != LeafRun::Kind::kData) continue;
    for (unsigned bit = run.first; bit < run.end(); ++bit) {
      if (!(mask >> bit & 1)) continue;
      const PhysicalBlock block = run.physical.next(bit - run.first);
      if (!into.empty() && into.back().first.next(into.back().count) == block) {
        ++into.back().count;
      } else {
        into.push_back({block, 1});
      }
    }
  }
}

Epoch parent_epoch(const Tree& tree, const TreeNode& node) {
  const TreeNode* parent = tree.node(node.value.parent);
  return parent == nullptr ? Epoch{0} : parent->value.epoch;
}

std::vector<Tree::Stretch> own_stretches(const Tree& tree, const TreeNode& node) {
  return tree.path(tree.view_of(node), parent_epoch(tree, node));
}

namespace {

constexpr std::size_t kLeavesAtOnce = 256;

using Gone = std::set<NodeId>;  // nodes that count as dead

bool is_gone(const TreeNode& node, const Gone& gone) {
  return (node.value.state == NodeState::kDead && !node.pending) || gone.contains(node.id);
}

// The live nodes that stand next to `node` when dead ones are left out, and the epoch of the live ancestor:
// who sees a block beside the node is, or stands behind, one of them.
struct Neighbours {
  std::vector<NodeId> below;
  Epoch ancestor;
};

void append_live_below(const Tree& tree, const TreeNode& node, NodeId except, const Gone& gone,
                       std::vector<NodeId>& into) {
  std::vector<NodeId> open = node.children;
  std::erase(open, except);
  while (!open.empty()) {
    const TreeNode& child = *tree.node(open.back());
    open.pop_back();
    if (is_gone(child, gone)) {
      open.insert(open.end(), child.children.begin(), child.children.end());
    } else {
      into.push_back(child.id);
    }
  }
}

Neighbours live_neighbours(const Tree& tree, const TreeNode& node, const Gone& gone) {
  Neighbours found;
  append_live_below(tree, node, NodeId{0}, gone, found.below);
  NodeId from = node.id;
  const TreeNode* at = tree.node(node.value.parent);
  // A dead fork keeps what several children see; once only this one does, it is this one's to free.
  while (at != nullptr && is_gone(*at, gone)) {
    append_live_below(tree, *at, from, gone, found.below);
    from = at->id;
    at = tree.node(at->value.parent);
  }
  if (at != nullptr) found.ancestor = at->value.epoch;
  return found;
}

// Blocks of one leaf that only the node sees.
Task<Result<std::uint64_t>> exclusive_in_leaf(Tree& tree, LeafMap& map, View view, Neighbours neighbours,
                                              LeafIndex index) {
  auto loaded = co_await map.load(view, index);
  if (!loaded) co_return std::unexpected(loaded.error());
  CachedLeaf* leaf = *loaded;
  std::uint64_t mask = born_after(*leaf, neighbours.ancestor);
  for (const NodeId other_id : neighbours.below) {
    if (mask == 0) break;
    const TreeNode* other = tree.node(other_id);
    if (other == nullptr) continue;
    const View other_view = tree.view_of(*other);
    auto other_leaf = co_await map.load(other_view, index);
    if (!other_leaf) {
      map.unpin(leaf);
      co_return std::unexpected(other_leaf.error());
    }
    mask &= ~seen_by(*leaf, **other_leaf);
    map.unpin(*other_leaf);
  }
  map.unpin(leaf);
  co_return static_cast<std::uint64_t>(std::popcount(mask));
}

}  // namespace

namespace {

Task<Result<std::uint64_t>> exclusive_without(Tree& tree, LeafMap& map, NodeId id, const Gone& gone) {
  const TreeNode& node = *tree.node(id);
  const View view = tree.view_of(node);
  const Neighbours around = live_neighbours(tree, node, gone);
  ChangeCursor cursor(map, tree.path(view, around.ancestor), LeafIndex{0}, kLastLeaf);
  std::uint64_t blocks = 0;
  while (true) {
    auto changes = co_await cursor.next(kLeavesAtOnce);
    if (!changes) co_return std::unexpected(changes.error());
    if (changes->empty()) co_return blocks;
    for (const LeafMap::Change& change : *changes) {
      auto found = co_await exclusive_in_leaf(tree, map, view, around, change.leaf);
      if (!found) co_return found;
      blocks += *found;
    }
  }
}

// Children before their parents: what is taken away from below leaves each node only its own changes to look
// at.
void order_from_below(const Tree& tree, std::vector<NodeId>& nodes) {
  std::map<NodeId, std::size_t> depth;
  for (const NodeId id : nodes) {
    std::size_t steps = 0;
    for (const TreeNode* at = tree.node(id); at != nullptr; at = tree.node(at->value.parent)) ++steps;
    depth[id] = steps;
  }
  std::ranges::sort(nodes, std::ranges::greater{}, [&](NodeId id) { return depth[id]; });
}

}  // namespace

Task<Result<std::uint64_t>> exclusive_blocks(Tree& tree, LeafMap& map, NodeId id) {
  const Gone gone;
  auto blocks = co_await exclusive_without(tree, map, id, gone);
  co_return blocks;
}

// As if they were removed one after the other.
Task<Result<std::uint64_t>> exclusive_blocks(Tree& tree, LeafMap& map, std::vector<NodeId> nodes) {
  order_from_below(tree, nodes);
  Gone gone;
  std::uint64_t blocks = 0;
  for (const NodeId id : nodes) {
    if (tree.node(id) == nullptr) continue;
    auto found = co_await exclusive_without(tree, map, id, gone);
    if (!found) co_return found;
    blocks += *found;
    gone.insert(id);
  }
  co_return blocks;
}

Task<Result<std::uint64_t>> visible_blocks(Tree& tree, LeafMap& map, NodeId id) {
  const View view = tree.view_of(*tree.node(id));
  std::uint64_t blocks = 0;
  LeafIndex from{0};
  while (true) {
    auto found = co_await map.scan(view, from, kLastLeaf, kLeavesAtOnce);
    if (!found) co_return std::unexpected(found.error());
    for (const LeafMap::Found& leaf : *found) {
      for (const LeafRun& run : leaf.leaf.runs()) {
        if (run.kind == LeafRun::Kind::kData) blocks += run.count;
      }
    }
    if (found->size() < kLeavesAtOnce) co_return blocks;
    from = found->back().index.next();
  }
}

}  // namespace coppice
