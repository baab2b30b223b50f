// DirtyIndex: the entries with an overlay, in the order of their keys by regions of 64 MiB of a branch.
//
// Adding and removing cost a look into a small map; walking in order sorts one region at a time.
// Thread: the store's scheduler.
#pragma once

#include <compare>
#include <map>
#include <vector>

#include "map/leaf_entry.h"

namespace coppice {

class DirtyIndex {
 public:
  struct Region {
    BranchId branch;
    std::uint64_t number = 0;
    auto operator<=>(const Region&) const = default;
  };
  using Regions = std::map<Region, std::vector<Entry*>>;

  void add(Entry* entry);
  void remove(Entry* entry);
  // Removes and returns all of a branch.
  std::vector<Entry*> take_branch(BranchId branch);
  // The entries of the branch in [from, to), by leaf and version. `visit` returns false to stop.
  template <class Visit>
  void walk(BranchId branch, LeafIndex from, LeafIndex to, Visit visit) const;
  [[nodiscard]] const Regions& regions() const { return regions_; }

 private:
  static constexpr std::uint64_t kRegionLeaves = 256;
  static Region region_of(BranchId branch, LeafIndex leaf) { return {branch, leaf.value / kRegionLeaves}; }
  static std::vector<Entry*> sorted(const std::vector<Entry*>& region, LeafIndex from, LeafIndex to);
  Regions regions_;
};

template <class Visit>
void DirtyIndex::walk(BranchId branch, LeafIndex from, LeafIndex to, Visit visit) const {
  for (auto at = regions_.lower_bound(region_of(branch, from)); at != regions_.end(); ++at) {
    if (at->first.branch != branch || at->first.number * kRegionLeaves >= to.value) return;
    for (Entry* entry : sorted(at->second, from, to)) {
      if (!visit(entry)) return;
    }
  }
}

}  // namespace coppice
