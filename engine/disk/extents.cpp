#include <algorithm>

#include "disk/device.h"

namespace coppice {

namespace {

constexpr std::size_t kLeavesAtOnce = 256;

// Collects neighbouring stretches; full() once one more than allowed would begin.
class ExtentList {
 public:
  ExtentList(std::uint64_t start, std::uint64_t end, std::size_t max, std::vector<Extent>& into)
      : next_(start), start_(start), end_(end), max_(max), into_(into) {}

  // Everything up to `until` (bytes, clipped to the range) is of this kind.
  void cover(std::uint64_t until, bool allocated) {
    until = std::min(until, end_);
    if (full_ || until <= next_) return;
    if (!into_.empty() && into_.back().allocated == allocated && next_ != start_) {
      into_.back().length_bytes += until - next_;
    } else if (count_ == max_) {
      full_ = true;
      return;
    } else {
      into_.push_back({next_, until - next_, allocated});
      ++count_;
    }
    next_ = until;
  }
  [[nodiscard]] bool full() const { return full_ || next_ >= end_; }

 private:
  std::uint64_t next_;
  std::uint64_t start_;
  std::uint64_t end_;
  std::size_t max_;
  std::size_t count_ = 0;
  bool full_ = false;
  std::vector<Extent>& into_;
};

void cover_leaf(const LeafMap::Found& found, ExtentList& list) {
  const std::uint64_t base = first_block(found.index).value;
  list.cover(base * kBlockBytes, false);
  for (unsigned index = 0; index < kLeafBlocks;) {
    const LeafRun run = found.leaf.run_at(index);
    list.cover((base + run.end()) * kBlockBytes, run.kind == LeafRun::Kind::kData);
    index = run.end();
  }
}

}  // namespace

Task<Result<>> list_extents(Parts& parts, View view, std::uint64_t offset_bytes, std::uint64_t length_bytes,
                            std::size_t max_extents, std::vector<Extent>& into) {
  const std::uint64_t end = offset_bytes + length_bytes;
  ExtentList list(offset_bytes, end, std::max<std::size_t>(1, max_extents), into);
  LeafIndex from = leaf_of(BlockIndex{offset_bytes / kBlockBytes});
  const LeafIndex to = leaf_of(BlockIndex{round_up(end, kBlockBytes) / kBlockBytes + kLeafBlocks - 1});
  while (!list.full()) {
    auto found = co_await parts.map.scan(view, from, to, kLeavesAtOnce);
    if (!found) co_return std::unexpected(found.error());
    for (const LeafMap::Found& leaf : *found) cover_leaf(leaf, list);
    if (found->size() < kLeavesAtOnce) {
      list.cover(end, false);
      co_return Result<>{};
    }
    from = found->back().index.next();
  }
  co_return Result<>{};
}

}  // namespace coppice
