#include "tree/changed.h"

#include <cerrno>

#include "tree/change_cursor.h"

namespace coppice {

namespace {

constexpr std::size_t kLeavesAsked = 512;

void append_changed(const Leaf& now, const LeafMap::Change& change, BlockIndex from, BlockIndex end,
                    std::vector<BlockDifference>& into) {
  for (unsigned bit = 0; bit < kLeafBlocks; ++bit) {
    const BlockIndex block = first_block(change.leaf).next(bit);
    if (!(change.mask >> bit & 1) || block < from || block >= end) continue;
    append_difference(into, {block, 1, now.run_at(bit).kind == LeafRun::Kind::kZero});
  }
}

}  // namespace

Task<Result<std::vector<BlockDifference>>> changed_blocks(Tree& tree, LeafMap& map, View base, View to,
                                                          BlockIndex from, BlockIndex end) {
  const View meeting = tree.meeting_point(base, to);
  if (meeting.branch.value == 0) co_return fail(ErrorKind::kInvalid, EINVAL, "they share no ancestor");
  std::vector<Tree::Stretch> stretches = tree.path(base, meeting.epoch);
  const std::vector<Tree::Stretch> other = tree.path(to, meeting.epoch);
  stretches.insert(stretches.end(), other.begin(), other.end());
  ChangeCursor cursor(map, std::move(stretches), leaf_of(from),
                      leaf_of(BlockIndex{end.value + kLeafBlocks - 1}));
  std::vector<BlockDifference> changed;
  while (true) {
    auto changes = co_await cursor.next(kLeavesAsked);
    if (!changes) co_return std::unexpected(changes.error());
    if (changes->empty()) co_return changed;
    co_await map.prefetch(to, *changes);
    for (const LeafMap::Change& change : *changes) {
      auto leaf = co_await map.load(to, change.leaf);
      if (!leaf) co_return std::unexpected(leaf.error());
      append_changed((*leaf)->leaf, change, from, end, changed);
      map.unpin(*leaf);
    }
  }
}

}  // namespace coppice
