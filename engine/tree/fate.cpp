#include "tree/fate.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/mutation.h"
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

std::uint64_t epochs_in(const std::vector<Tree::Stretch>& stretches) {
  std::uint64_t count = 0;
  for (const Tree::Stretch& stretch : stretches) count += stretch.up_to.value - stretch.after.value;
  return count;
}

std::vector<Tree::Stretch> shorter(std::vector<Tree::Stretch> a, std::vector<Tree::Stretch> b) {
  return epochs_in(b) < epochs_in(a) ? std::move(b) : std::move(a);
}

}  // namespace

bool stands_over_snapshot(const Tree& tree, const TreeNode& node) {
  if (node.children.size() != 1) return false;
  const TreeNode& child = *tree.node(node.children.front());
  return child.value.state != NodeState::kHead && !child.pending;
}

std::vector<Tree::Stretch> swept_stretches(const Tree& tree, const TreeNode& node) {
  std::vector<Tree::Stretch> own = own_stretches(tree, node);
  const bool over_head = node.children.size() == 1 && mutated(Mutation::kShorterOverHead);
  if (!stands_over_snapshot(tree, node) && !over_head) return own;
  return shorter(std::move(own), own_stretches(tree, *tree.node(node.children.front())));
}

Below below(const Tree& tree, const TreeNode& node) {
  Below found;
  std::vector<NodeId> open = node.children;
  while (!open.empty()) {
    const TreeNode& child = *tree.node(open.back());
    open.pop_back();
    if (child.value.state != NodeState::kDead || child.needed()) {
      found.live.push_back(child.id);
    } else {
      found.dead.push_back(child.id);
      open.insert(open.end(), child.children.begin(), child.children.end());
    }
  }
  return found;
}

namespace {

constexpr std::size_t kLeavesAtOnce = 256;

// Nodes that count as dead beside those that are. Of each it is known what then lives below it: a set is
// taken from below, so that stays true.
class Gone {
 public:
  Gone() = default;
  // All nodes but these count as dead from the start.
  explicit Gone(const std::vector<NodeId>& others) : others_(std::in_place, others.begin(), others.end()) {}
  [[nodiscard]] bool contains(const TreeNode& node) const {
    const bool dead = node.value.state == NodeState::kDead && !node.pending;
    return dead || (others_ && !others_->contains(node.id)) || below_.contains(node.id);
  }
  [[nodiscard]] const std::vector<NodeId>* below(NodeId id) const {
    const auto place = below_.find(id);
    return place == below_.end() ? nullptr : &place->second;
  }
  void add(NodeId id, std::vector<NodeId> below) { below_.emplace(id, std::move(below)); }

 private:
  std::unordered_map<NodeId, std::vector<NodeId>> below_;
  std::optional<std::unordered_set<NodeId>> others_;
};

// The live nodes that stand next to `node` when dead ones are left out, and the epoch of the live ancestor:
// who sees a block beside the node is, or stands behind, one of them.
struct Neighbours {
  std::vector<NodeId> below;
  std::size_t descendants = 0;  // of them, the first ones
  Epoch ancestor;
};

void append_live_below(const Tree& tree, const TreeNode& node, NodeId except, const Gone& gone,
                       std::vector<NodeId>& into) {
  std::vector<NodeId> open = node.children;
  std::erase(open, except);
  while (!open.empty()) {
    const TreeNode& child = *tree.node(open.back());
    open.pop_back();
    if (!gone.contains(child)) {
      into.push_back(child.id);
    } else if (const std::vector<NodeId>* below = gone.below(child.id); below != nullptr) {
      into.insert(into.end(), below->begin(), below->end());
    } else {
      open.insert(open.end(), child.children.begin(), child.children.end());
    }
  }
}

Neighbours live_neighbours(const Tree& tree, const TreeNode& node, const Gone& gone) {
  Neighbours found;
  append_live_below(tree, node, NodeId{0}, gone, found.below);
  found.descendants = found.below.size();
  NodeId from = node.id;
  const TreeNode* at = tree.node(node.value.parent);
  // A dead fork keeps what several children see; once only this one does, it is this one's to free.
  while (at != nullptr && gone.contains(*at)) {
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
  // Mostly there is one; of many, the first ones leave little to ask the others for.
  std::optional<View> around_view;
  const TreeNode* beside = around.below.empty() ? nullptr : tree.node(around.below.front());
  if (beside != nullptr) around_view = tree.view_of(*beside);
  std::vector<Tree::Stretch> stretches = tree.path(view, around.ancestor);
  // What a descendant has not written since it sees, too (swept_stretches()).
  if (around_view && around.descendants != 0)
    stretches = shorter(std::move(stretches), tree.path(*around_view, view.epoch));
  ChangeCursor cursor(map, std::move(stretches), LeafIndex{0}, kLastLeaf);
  std::uint64_t blocks = 0;
  while (true) {
    auto changes = co_await cursor.next(kLeavesAtOnce);
    if (!changes) co_return std::unexpected(changes.error());
    if (changes->empty()) co_return blocks;
    co_await map.prefetch(view, *changes);
    if (around_view) co_await map.prefetch(*around_view, *changes);
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
  std::unordered_map<NodeId, std::size_t> depth;
  for (const NodeId id : nodes) {
    std::vector<NodeId> way;
    const TreeNode* at = tree.node(id);
    while (at != nullptr && !depth.contains(at->id)) {
      way.push_back(at->id);
      at = tree.node(at->value.parent);
    }
    std::size_t above = at == nullptr ? 0 : depth[at->id];
    for (auto each = way.rbegin(); each != way.rend(); ++each) depth[*each] = ++above;
  }
  std::ranges::sort(nodes, std::ranges::greater{}, [&](NodeId id) { return depth[id]; });
}

// As if they were removed one after the other.
Task<Result<std::uint64_t>> taken_away(Tree& tree, LeafMap& map, std::vector<NodeId> nodes, Gone& gone) {
  order_from_below(tree, nodes);
  std::uint64_t blocks = 0;
  for (const NodeId id : nodes) {
    if (tree.node(id) == nullptr) continue;
    auto found = co_await exclusive_without(tree, map, id, gone);
    if (!found) co_return found;
    blocks += *found;
    std::vector<NodeId> below;
    if (tree.node(id) != nullptr) append_live_below(tree, *tree.node(id), NodeId{0}, gone, below);
    gone.add(id, std::move(below));
  }
  co_return blocks;
}

}  // namespace

Task<Result<std::uint64_t>> exclusive_blocks(Tree& tree, LeafMap& map, NodeId id) {
  const Gone gone;
  auto blocks = co_await exclusive_without(tree, map, id, gone);
  co_return blocks;
}

Task<Result<std::uint64_t>> exclusive_blocks(Tree& tree, LeafMap& map, std::vector<NodeId> nodes) {
  Gone gone;
  auto blocks = co_await taken_away(tree, map, std::move(nodes), gone);
  co_return blocks;
}

Task<Result<std::uint64_t>> seen_blocks(Tree& tree, LeafMap& map, std::vector<NodeId> nodes) {
  Gone gone(nodes);
  auto blocks = co_await taken_away(tree, map, std::move(nodes), gone);
  co_return blocks;
}

// What stands above the disk's first node counts as there, so what is seen of it is not counted.
Task<Result<std::uint64_t>> charged_blocks(Tree& tree, LeafMap& map, DiskId disk) {
  std::vector<NodeId> nodes = tree.nodes_of(disk);
  std::unordered_set<NodeId> known;
  for (const NodeId id : nodes) {
    const TreeNode* at = tree.node(id);
    while (at != nullptr && known.insert(at->id).second) at = tree.node(at->value.parent);
  }
  Gone gone(std::vector<NodeId>(known.begin(), known.end()));
  auto blocks = co_await taken_away(tree, map, std::move(nodes), gone);
  co_return blocks;
}

namespace {

std::uint64_t data_blocks(const Leaf& leaf) {
  std::uint64_t blocks = 0;
  for (const LeafRun& run : leaf.runs()) {
    if (run.kind == LeafRun::Kind::kData) blocks += run.count;
  }
  return blocks;
}

Task<Result<std::uint64_t>> data_blocks_at(LeafMap& map, View view, LeafIndex index) {
  auto leaf = co_await map.load(view, index);
  if (!leaf) co_return std::unexpected(leaf.error());
  const std::uint64_t blocks = data_blocks((*leaf)->leaf);
  map.unpin(*leaf);
  co_return blocks;
}

const TreeNode* live_ancestor(const Tree& tree, const TreeNode& node) {
  const TreeNode* at = tree.node(node.value.parent);
  while (at != nullptr && at->value.state == NodeState::kDead) at = tree.node(at->value.parent);
  return at;
}

// What changed on the way from its ancestor, of which it is known.
Task<Result<std::uint64_t>> visible_beside(Tree& tree, LeafMap& map, View view, View above,
                                           std::uint64_t above_blocks) {
  ChangeCursor cursor(map, tree.path(view, above.epoch), LeafIndex{0}, kLastLeaf);
  std::uint64_t blocks = above_blocks;
  while (true) {
    auto changes = co_await cursor.next(kLeavesAtOnce);
    if (!changes) co_return std::unexpected(changes.error());
    if (changes->empty()) co_return blocks;
    co_await map.prefetch(above, *changes);
    co_await map.prefetch(view, *changes);
    for (const LeafMap::Change& change : *changes) {
      auto before = co_await data_blocks_at(map, above, change.leaf);
      if (!before) co_return before;
      auto now = co_await data_blocks_at(map, view, change.leaf);
      if (!now) co_return now;
      blocks = blocks + *now - *before;
    }
  }
}

}  // namespace

Task<Result<std::uint64_t>> VisibleBlocks::of(NodeId id) {
  std::vector<NodeId> way;
  const TreeNode* at = tree_.node(id);
  while (at != nullptr && !known_.contains(at->id)) {
    way.push_back(at->id);
    at = live_ancestor(tree_, *at);
  }
  NodeId above = at == nullptr ? NodeId{0} : at->id;
  for (; !way.empty(); way.pop_back()) {
    const View view = tree_.view_of(*tree_.node(way.back()));
    Result<std::uint64_t> found;
    if (above.value == 0) {
      found = co_await visible_blocks(map_, view);
    } else {
      const View before = tree_.view_of(*tree_.node(above));
      const std::uint64_t before_blocks = known_[above];
      found = co_await visible_beside(tree_, map_, view, before, before_blocks);
    }
    if (!found) co_return found;
    above = way.back();
    known_[above] = *found;
  }
  co_return known_[id];
}

Task<Result<std::uint64_t>> visible_blocks(LeafMap& map, View view) {
  std::uint64_t blocks = 0;
  LeafIndex from{0};
  while (true) {
    auto found = co_await map.scan(view, from, kLastLeaf, kLeavesAtOnce);
    if (!found) co_return std::unexpected(found.error());
    for (const LeafMap::Found& leaf : *found) blocks += data_blocks(leaf.leaf);
    if (found->size() < kLeavesAtOnce) co_return blocks;
    from = found->back().index.next();
  }
}

}  // namespace coppice
