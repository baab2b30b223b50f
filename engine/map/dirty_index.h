// DirtyIndex: the entries with an overlay, by regions of 64 MiB of a branch and by their epochs.
//
// Adding costs a look into a map, removing nothing but the last one of a region; walking in order sorts one
// region at a time, and passes by what is of other epochs than those asked for. Thread: the store's
// scheduler.
#pragma once

#include <compare>
#include <map>
#include <vector>

#include "map/leaf_entry.h"

namespace coppice {

struct DirtyRegion {
  struct Key {
    BranchId branch;
    std::uint64_t number = 0;
    Epoch epoch;
    auto operator<=>(const Key&) const = default;
  };
  Key key;
  std::vector<Entry*> entries;
};

class DirtyIndex {
 public:
  using Region = DirtyRegion::Key;
  using Regions = std::map<Region, DirtyRegion>;

  void add(Entry* entry);
  void remove(Entry* entry);
  // Removes and returns all of a branch.
  std::vector<Entry*> take_branch(BranchId branch);
  // Epochs (after, up_to] of leaves [from, to).
  struct Range {
    BranchId branch;
    Epoch after;
    Epoch up_to;
    LeafIndex from;
    LeafIndex to;
  };
  // The entries in it, by leaf and version. `visit` returns false to stop.
  template <class Visit>
  void walk(const Range& range, Visit visit) const;
  [[nodiscard]] const Regions& regions() const { return regions_; }

 private:
  static constexpr std::uint64_t kRegionLeaves = 256;
  static Region region_of(BranchId branch, LeafIndex leaf, Epoch epoch) {
    return {branch, leaf.value / kRegionLeaves, epoch};
  }
  // Of the region in which `at` stands; moves it behind those epochs.
  std::vector<Entry*> next_sorted(Regions::const_iterator& at, const Range& range) const;
  Regions regions_;
};

template <class Visit>
void DirtyIndex::walk(const Range& range, Visit visit) const {
  auto at = regions_.lower_bound(region_of(range.branch, range.from, Epoch{}));
  while (at != regions_.end() && at->first.branch == range.branch) {
    const Region region = at->first;
    if (region.number * kRegionLeaves >= range.to.value) return;
    if (region.epoch <= range.after) {
      at = regions_.lower_bound({region.branch, region.number, range.after.next()});
    } else if (region.epoch > range.up_to) {
      at = regions_.lower_bound({region.branch, region.number + 1, Epoch{}});
    } else {
      for (Entry* entry : next_sorted(at, range)) {
        if (!visit(entry)) return;
      }
    }
  }
}

}  // namespace coppice
