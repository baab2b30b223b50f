#include "tree/change_cursor.h"

#include <map>

namespace coppice {

Task<Result<std::vector<LeafMap::Change>>> ChangeCursor::next(std::size_t max) {
  std::vector<LeafMap::Change> merged;
  while (merged.empty() && next_ < end_) {
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
      if (leaf < horizon) merged.push_back({leaf, mask});
    }
    next_ = horizon;
  }
  co_return merged;
}

}  // namespace coppice
