#include "store/allocated_counts.h"

#include <algorithm>
#include <utility>

#include "coppice/next_turn.h"
#include "disk/device.h"
#include "tree/change_cursor.h"

namespace coppice {

namespace {

// 1,024 leaves: a fraction of a millisecond where all are there, next to nothing in a hole.
constexpr std::uint64_t kStepBytes = std::uint64_t{256} << 20;
constexpr std::size_t kStepExtents = 4096;
constexpr std::size_t kLeavesAtOnce = 256;
// One is counted whole for so many that continue from it, whichever of them is asked for first. In a list of
// names a snapshot's neighbour is seldom the one before.
constexpr std::size_t kLongestLine = 32;

bool settled(const TreeNode& node) {
  return node.value.state == NodeState::kSnapshot && !node.pending;
}

std::uint64_t allocated_bytes(const std::vector<Extent>& extents) {
  std::uint64_t bytes = 0;
  for (const Extent& extent : extents) bytes += extent.allocated ? extent.length_bytes : 0;
  return bytes;
}

}  // namespace

AllocatedCounts::Line AllocatedCounts::line_of(const TreeNode& node) const {
  Line line{node.id};
  const TreeNode* at = &node;
  // Where a count was begun it goes on.
  while (line.size() < kLongestLine && known(at->id).up_to == 0) {
    const std::uint64_t size_bytes = at->value.size_bytes;
    do at = tree_.node(at->value.parent);
    while (at != nullptr && at->value.state == NodeState::kDead && !at->pending);
    // What a change of size hides or shows is in no mask.
    if (at == nullptr || !settled(*at) || at->value.size_bytes != size_bytes) break;
    line.push_back(at->id);
  }
  return line;
}

Task<Result<Store::Allocated>> AllocatedCounts::count(Line line, std::chrono::nanoseconds budget) {
  const auto began = parts_.scheduler.now();
  const std::uint64_t forgotten = forgotten_;
  const TreeNode* node = tree_.node(line.back());
  Count count = known(node->id);
  // Nothing of the time was spent on what stands above the line's first.
  const bool at_first = count.up_to == node->value.size_bytes && line.size() == 2;
  auto counted = co_await whole(*node, began + budget, count);
  if (!counted) co_return std::unexpected(counted.error());
  keep(*node, count, forgotten);
  bool all = count.up_to == node->value.size_bytes;
  for (line.pop_back(); all && !line.empty(); line.pop_back()) {
    const TreeNode& above = *std::exchange(node, tree_.node(line.back()));
    Count next = count;
    auto seen = co_await beside(*node, above, began + (at_first ? budget / 2 : budget), next);
    if (!seen) co_return std::unexpected(seen.error());
    all = *seen;
    if (!all && !at_first) break;
    // Too much changed to be seen in one go: from now on it is counted by itself, piece by piece.
    if (!all) {
      next = {};
      counted = co_await whole(*node, parts_.scheduler.now() + budget, next);
      if (!counted) co_return std::unexpected(counted.error());
      all = next.up_to == node->value.size_bytes;
    }
    count = next;
    keep(*node, count, forgotten);
  }
  const std::uint64_t size_bytes = node->value.size_bytes;
  const std::uint64_t unseen = size_bytes - std::min(size_bytes, count.up_to);
  co_return Store::Allocated{count.bytes + unseen, all && line.empty()};
}

Task<Result<>> AllocatedCounts::whole(const TreeNode& node, std::chrono::nanoseconds deadline, Count& count) {
  const std::uint64_t size_bytes = node.value.size_bytes;
  const View view = tree_.view_of(node);
  std::vector<Extent> extents;
  while (count.up_to < size_bytes && parts_.scheduler.now() < deadline) {
    extents.clear();
    const std::uint64_t length = std::min(kStepBytes, size_bytes - count.up_to);
    auto listed = co_await list_extents(parts_, view, count.up_to, length, kStepExtents, extents);
    if (!listed) co_return listed;
    count.bytes += allocated_bytes(extents);
    if (!extents.empty()) count.up_to = extents.back().offset_bytes + extents.back().length_bytes;
    co_await NextTurn{parts_.scheduler};
  }
  co_return Result<>{};
}

// False: the time is over, or what is known of the other one is not what stands there any more.
Task<Result<bool>> AllocatedCounts::beside(const TreeNode& node, const TreeNode& above,
                                           std::chrono::nanoseconds deadline, Count& count) {
  const View view = tree_.view_of(node);
  const View before = tree_.view_of(above);
  const bool on_base = parts_.bases.under(view.branch) != nullptr;
  ChangeCursor cursor(parts_.map, tree_.path(view, before.epoch), LeafIndex{0}, kLastLeaf);
  while (true) {
    auto changes = co_await cursor.next(kLeavesAtOnce);
    if (!changes) co_return std::unexpected(changes.error());
    if (changes->empty()) co_return true;
    if (!on_base) {
      co_await parts_.map.prefetch(before, *changes);
      co_await parts_.map.prefetch(view, *changes);
    }
    for (const LeafMap::Change& change : *changes) {
      if (parts_.scheduler.now() >= deadline) co_return false;
      auto had = co_await leaf_bytes(above, change.leaf, on_base);
      if (!had) co_return std::unexpected(had.error());
      auto has = co_await leaf_bytes(node, change.leaf, on_base);
      if (!has) co_return std::unexpected(has.error());
      if (count.bytes + *has < *had) co_return false;
      count.bytes = count.bytes + *has - *had;
    }
    co_await NextTurn{parts_.scheduler};
  }
}

Task<Result<std::uint64_t>> AllocatedCounts::leaf_bytes(const TreeNode& node, LeafIndex leaf, bool on_base) {
  const std::uint64_t offset = leaf.value * kLeafBytes;
  const std::uint64_t size_bytes = node.value.size_bytes;
  if (offset >= size_bytes) co_return 0;
  const std::uint64_t length = std::min(kLeafBytes, size_bytes - offset);
  const View view = tree_.view_of(node);
  if (on_base) {
    std::vector<Extent> extents;
    auto listed = co_await list_extents(parts_, view, offset, length, kLeafBlocks, extents);
    if (!listed) co_return std::unexpected(listed.error());
    co_return allocated_bytes(extents);
  }
  auto loaded = co_await parts_.map.load(view, leaf);
  if (!loaded) co_return std::unexpected(loaded.error());
  std::uint64_t bytes = 0;
  for (const LeafRun& run : (*loaded)->leaf.runs()) {
    if (run.kind != LeafRun::Kind::kData) continue;
    const std::uint64_t end = std::min<std::uint64_t>(run.end() * kBlockBytes, length);
    bytes += end - std::min<std::uint64_t>(run.first * kBlockBytes, end);
  }
  parts_.map.unpin(*loaded);
  co_return bytes;
}

void AllocatedCounts::keep(const TreeNode& node, Count count, std::uint64_t forgotten) {
  // Somebody else may have counted further meanwhile.
  if (!settled(node) || forgotten != forgotten_ || known(node.id).up_to > count.up_to) return;
  known_[node.id] = count;
  if (known_.size() > 2 * tree_.nodes().size())
    std::erase_if(known_, [this](const auto& each) { return tree_.node(each.first) == nullptr; });
}

AllocatedCounts::Count AllocatedCounts::known(NodeId node) const {
  const auto found = known_.find(node);
  return found == known_.end() ? Count{} : found->second;
}

}  // namespace coppice
