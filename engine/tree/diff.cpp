#include "tree/diff.h"

#include <algorithm>
#include <cerrno>

#include "tree/change_cursor.h"

namespace coppice {

namespace {

constexpr std::size_t kLeavesCompared = 512;

// Reads as zeroes; `over_base`: a base shows through holes there.
bool reads_zero(const LeafRun& run, bool over_base) {
  return run.kind == LeafRun::Kind::kZero || (run.kind == LeafRun::Kind::kHole && !over_base);
}

bool same(const LeafRun& a, const LeafRun& b, bool over_base) {
  if (reads_zero(a, over_base) || reads_zero(b, over_base))
    return reads_zero(a, over_base) && reads_zero(b, over_base);
  if (a.kind != b.kind) return false;
  return a.kind == LeafRun::Kind::kHole || (a.physical == b.physical && a.birth == b.birth);
}

struct Window {
  BlockIndex from;
  BlockIndex end;
  BlockIndex base_end;  // of what the base shows; 0: there is none
};

BlockIndex base_end(const Tree& tree, BranchId branch) {
  const BaseValue* base = tree.base(branch);
  const std::uint64_t bytes = base == nullptr ? 0 : base->size_bytes;
  return BlockIndex{round_up(bytes, kBlockBytes) / kBlockBytes};
}

void compare_leaves(const Leaf& a, const Leaf& b, LeafIndex index, std::uint64_t mask, const Window& range,
                    std::vector<BlockDifference>& into) {
  for (unsigned bit = 0; bit < kLeafBlocks;) {
    const LeafRun run_a = a.run_at(bit);
    const LeafRun run_b = b.run_at(bit);
    const unsigned until = std::min(run_a.end(), run_b.end());
    for (unsigned each = bit; each < until; ++each) {
      const BlockIndex block = first_block(index).next(each);
      const bool over_base = block < range.base_end;
      if (!(mask >> each & 1) || block < range.from || block >= range.end) continue;
      if (!same(run_a, run_b, over_base)) append_difference(into, {block, 1, reads_zero(run_b, over_base)});
    }
    bit = until;
  }
}

}  // namespace

void append_difference(std::vector<BlockDifference>& into, const BlockDifference& found) {
  if (!into.empty()) {
    BlockDifference& last = into.back();
    if (last.first.next(last.count) == found.first && last.zero == found.zero) {
      last.count += found.count;
      return;
    }
  }
  into.push_back(found);
}

Task<Result<std::vector<BlockDifference>>> diff_views(Tree& tree, LeafMap& map, View a, View b,
                                                      BlockIndex from, BlockIndex end) {
  const View meeting = tree.meeting_point(a, b);
  if (meeting.branch.value == 0) co_return fail(ErrorKind::kInvalid, EINVAL, "they share no ancestor");
  const Window window{from, end, base_end(tree, a.branch)};
  std::vector<Tree::Stretch> stretches = tree.path(a, meeting.epoch);
  const std::vector<Tree::Stretch> other = tree.path(b, meeting.epoch);
  stretches.insert(stretches.end(), other.begin(), other.end());
  ChangeCursor cursor(map, std::move(stretches), leaf_of(from),
                      leaf_of(BlockIndex{end.value + kLeafBlocks - 1}));
  std::vector<BlockDifference> differences;
  while (true) {
    auto changes = co_await cursor.next(kLeavesCompared);
    if (!changes) co_return std::unexpected(changes.error());
    if (changes->empty()) co_return differences;
    co_await map.prefetch(a, *changes);
    co_await map.prefetch(b, *changes);
    for (const LeafMap::Change& change : *changes) {
      auto leaf_a = co_await map.load(a, change.leaf);
      if (!leaf_a) co_return std::unexpected(leaf_a.error());
      auto leaf_b = co_await map.load(b, change.leaf);
      if (!leaf_b) {
        map.unpin(*leaf_a);
        co_return std::unexpected(leaf_b.error());
      }
      compare_leaves((*leaf_a)->leaf, (*leaf_b)->leaf, change.leaf, change.mask, window, differences);
      map.unpin(*leaf_a);
      map.unpin(*leaf_b);
    }
  }
}

Task<Result<std::vector<BlockDifference>>> blocks_of_view(Tree& tree, LeafMap& map, View view,
                                                          BlockIndex from, BlockIndex end) {
  std::vector<BlockDifference> blocks;
  const BlockIndex shown = base_end(tree, view.branch);
  BlockIndex next = from;
  const auto add = [&](BlockIndex first, BlockIndex until) {
    if (first < until) append_difference(blocks, {first, until.value - first.value});
  };
  // Where the map has nothing a base shows.
  const auto up_to = [&](BlockIndex until) {
    add(next, std::min(until, shown));
    next = std::max(next, until);
  };
  LeafIndex leaf = leaf_of(from);
  const LeafIndex last = leaf_of(BlockIndex{end.value + kLeafBlocks - 1});
  while (true) {
    auto found = co_await map.scan(view, leaf, last, kLeavesCompared);
    if (!found) co_return std::unexpected(found.error());
    for (const LeafMap::Found& each : *found) {
      for (unsigned bit = 0; bit < kLeafBlocks;) {
        const LeafRun run = each.leaf.run_at(bit);
        const BlockIndex first = std::max(from, first_block(each.index).next(bit));
        const BlockIndex until = std::min(end, first_block(each.index).next(run.end()));
        bit = run.end();
        if (first >= until) continue;
        up_to(first);
        if (run.kind == LeafRun::Kind::kData) add(first, until);
        if (run.kind == LeafRun::Kind::kHole) add(first, std::min(until, shown));
        next = until;
      }
    }
    if (found->size() < kLeavesCompared) break;
    leaf = found->back().index.next();
  }
  up_to(end);
  co_return blocks;
}

}  // namespace coppice
