#include <algorithm>

#include "disk/device.h"

namespace coppice {

namespace {

constexpr std::size_t kLeavesCovered = 256;
constexpr std::size_t kPiecesAtOnce = 256;

// Collects neighbouring stretches; full() once one more than allowed would begin.
class ExtentList {
 public:
  ExtentList(std::uint64_t start, std::uint64_t end, std::size_t max, std::vector<Extent>& into)
      : next_(start), start_(start), end_(end), max_(max), into_(into) {}

  // Everything up to `until` (bytes, clipped to the range) is of this kind; 0 is a hole.
  void cover(std::uint64_t until, std::uint32_t depth) {
    until = std::min(until, end_);
    if (full_ || until <= next_) return;
    if (!into_.empty() && into_.back().depth == depth && next_ != start_) {
      into_.back().length_bytes += until - next_;
    } else if (count_ == max_) {
      full_ = true;
      return;
    } else {
      into_.push_back({next_, until - next_, depth != 0, depth});
      ++count_;
    }
    next_ = until;
  }
  [[nodiscard]] bool full() const { return full_ || next_ >= end_; }
  [[nodiscard]] std::uint64_t next() const { return next_; }
  [[nodiscard]] std::uint64_t end() const { return end_; }

 private:
  std::uint64_t next_;
  std::uint64_t start_;
  std::uint64_t end_;
  std::size_t max_;
  std::size_t count_ = 0;
  bool full_ = false;
  std::vector<Extent>& into_;
};

// Through what the range is looked at.
struct Seen {
  Scheduler& scheduler;
  Base* base;
  const Layers& layers;
};

// What nothing maps, up to `until`: what the base shows takes space there, but for its own holes.
Task<void> cover_hole(Seen seen, std::uint64_t until, ExtentList& list) {
  Base* const base = seen.base;
  until = std::min(until, list.end());
  const std::uint64_t shown = base == nullptr ? 0 : std::min(until, base->end().value * kBlockBytes);
  while (!list.full() && list.next() < shown) {
    const std::uint64_t from = list.next();
    const auto found = co_await base_extents(seen.scheduler, *base, from, shown, kPiecesAtOnce);
    for (const Extent& piece : found) {
      list.cover(piece.offset_bytes + piece.length_bytes, piece.allocated ? seen.layers.depth_of_base() : 0);
    }
  }
  list.cover(until, 0);
}

Task<void> cover_leaf(Seen seen, const LeafMap::Found& found, ExtentList& list) {
  const std::uint64_t start = first_block(found.index).value;
  co_await cover_hole(seen, start * kBlockBytes, list);
  for (unsigned index = 0; index < kLeafBlocks && !list.full();) {
    const LeafRun run = found.leaf.run_at(index);
    const std::uint64_t until = (start + run.end()) * kBlockBytes;
    if (run.kind == LeafRun::Kind::kHole) {
      co_await cover_hole(seen, until, list);
    } else {
      list.cover(until, run.kind == LeafRun::Kind::kData ? seen.layers.depth_of(run.birth) : 0);
    }
    index = run.end();
  }
}

}  // namespace

Task<Result<>> list_extents(Parts& parts, View view, std::uint64_t offset_bytes, std::uint64_t length_bytes,
                            std::size_t max_extents, std::vector<Extent>& into, const Layers* layers) {
  static const Layers kNone;
  const std::uint64_t end = offset_bytes + length_bytes;
  const BasePointer held = parts.bases.under(view.branch);
  const Seen seen{parts.scheduler, held.get(), layers == nullptr ? kNone : *layers};
  ExtentList list(offset_bytes, end, std::max<std::size_t>(1, max_extents), into);
  LeafIndex from = leaf_of(BlockIndex{offset_bytes / kBlockBytes});
  const LeafIndex to = leaf_of(BlockIndex{round_up(end, kBlockBytes) / kBlockBytes + kLeafBlocks - 1});
  while (!list.full()) {
    auto found = co_await parts.map.scan(view, from, to, kLeavesCovered);
    if (!found) co_return std::unexpected(found.error());
    for (const LeafMap::Found& leaf : *found) co_await cover_leaf(seen, leaf, list);
    if (found->size() < kLeavesCovered) {
      co_await cover_hole(seen, end, list);
      co_return Result<>{};
    }
    from = found->back().index.next();
  }
  co_return Result<>{};
}

}  // namespace coppice
