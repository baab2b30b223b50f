#include "map/dirty_index.h"

#include <algorithm>
#include <tuple>

namespace coppice {

void DirtyIndex::add(Entry* entry) {
  const Region key = region_of(entry->branch, entry->index, entry->version);
  DirtyRegion& region = regions_.try_emplace(key, DirtyRegion{key, {}}).first->second;
  entry->overlay->region = &region;
  entry->overlay->position = static_cast<std::uint32_t>(region.entries.size());
  region.entries.push_back(entry);
}

void DirtyIndex::remove(Entry* entry) {
  DirtyRegion& region = *entry->overlay->region;
  const std::uint32_t position = entry->overlay->position;
  region.entries[position] = region.entries.back();
  region.entries[position]->overlay->position = position;
  region.entries.pop_back();
  if (region.entries.empty()) regions_.erase(Region(region.key));
}

std::vector<Entry*> DirtyIndex::take_branch(BranchId branch) {
  std::vector<Entry*> taken;
  const auto first = regions_.lower_bound({branch, 0, Epoch{}});
  const auto end = regions_.lower_bound({branch.next(), 0, Epoch{}});
  for (auto at = first; at != end; ++at)
    taken.insert(taken.end(), at->second.entries.begin(), at->second.entries.end());
  regions_.erase(first, end);
  return taken;
}

std::vector<Entry*> DirtyIndex::next_sorted(Regions::const_iterator& at, const Range& range) const {
  const Region region = at->first;
  std::vector<Entry*> found;
  for (; at != regions_.end(); ++at) {
    const Region& here = at->first;
    if (here.branch != region.branch || here.number != region.number || here.epoch > range.up_to) break;
    for (Entry* entry : at->second.entries) {
      if (entry->index >= range.from && entry->index < range.to) found.push_back(entry);
    }
  }
  std::ranges::sort(found, {}, [](const Entry* entry) { return std::tuple(entry->index, entry->version); });
  return found;
}

}  // namespace coppice
