#include "tree/change_cursor.h"

#include <algorithm>
#include <map>

namespace coppice {

namespace {

constexpr std::size_t kLeastFetch = 512;

}  // namespace

Task<Result<>> ChangeCursor::fetch(std::size_t max) {
  ready_.clear();
  given_ = 0;
  while (ready_.empty() && next_ < end_) {
    std::map<LeafIndex, std::uint64_t> masks;
    // A stretch that was cut short says nothing about what lies behind its last leaf.
    LeafIndex horizon = end_;
    for (const Tree::Stretch& stretch : stretches_) {
      auto found = co_await map_.changes(stretch.branch, stretch.after, stretch.up_to, next_, end_, max);
      if (!found) co_return std::unexpected(found.error());
      if (found->size() >= max) horizon = std::min(horizon, found->back().leaf.next());
      for (const LeafMap::Change& change : *found) masks[change.leaf] |= change.mask;
    }
    for (const auto& [leaf, mask] : masks) {
      if (leaf < horizon) ready_.push_back({leaf, mask});
    }
    next_ = horizon;
  }
  co_return Result<>{};
}

Task<Result<std::vector<LeafMap::Change>>> ChangeCursor::next(std::size_t max) {
  if (given_ == ready_.size()) {
    auto fetched = co_await fetch(std::max(max, kLeastFetch));
    if (!fetched) co_return std::unexpected(fetched.error());
  }
  const std::size_t count = std::min(max, ready_.size() - given_);
  const auto from = ready_.begin() + static_cast<std::ptrdiff_t>(given_);
  given_ += count;
  co_return std::vector<LeafMap::Change>(from, from + static_cast<std::ptrdiff_t>(count));
}

}  // namespace coppice
