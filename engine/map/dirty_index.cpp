#include "map/dirty_index.h"

#include <algorithm>
#include <tuple>

namespace coppice {

void DirtyIndex::add(Entry* entry) {
  auto& region = regions_[region_of(entry->branch, entry->index, entry->version)];
  entry->overlay->position = static_cast<std::uint32_t>(region.size());
  region.push_back(entry);
}

void DirtyIndex::remove(Entry* entry) {
  auto at = regions_.find(region_of(entry->branch, entry->index, entry->version));
  auto& region = at->second;
  const std::uint32_t position = entry->overlay->position;
  region[position] = region.back();
  region[position]->overlay->position = position;
  region.pop_back();
  if (region.empty()) regions_.erase(at);
}

std::vector<Entry*> DirtyIndex::take_branch(BranchId branch) {
  std::vector<Entry*> taken;
  const auto first = regions_.lower_bound({branch, 0, Epoch{}});
  const auto end = regions_.lower_bound({branch.next(), 0, Epoch{}});
  for (auto at = first; at != end; ++at) taken.insert(taken.end(), at->second.begin(), at->second.end());
  regions_.erase(first, end);
  return taken;
}

std::vector<Entry*> DirtyIndex::next_sorted(Regions::const_iterator& at, const Range& range) const {
  const Region region = at->first;
  std::vector<Entry*> found;
  for (; at != regions_.end(); ++at) {
    const Region& here = at->first;
    if (here.branch != region.branch || here.number != region.number || here.epoch > range.up_to) break;
    for (Entry* entry : at->second) {
      if (entry->index >= range.from && entry->index < range.to) found.push_back(entry);
    }
  }
  std::ranges::sort(found, {}, [](const Entry* entry) { return std::tuple(entry->index, entry->version); });
  return found;
}

}  // namespace coppice
