// Charges: how many blocks of the pool the disks with a quota have taken.
//
// A block is charged to the disk whose head wrote it, from the record that maps it to the one that frees it,
// whoever sees it meanwhile: so a clone has what was written to it, and what it stands on is its origin's.
// Counted from begin() on, in the steps that publish those records, with nothing in between; in memory only.
// Writes under way have their place kept by admit(). Threads: the store's scheduler.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>

#include "coppice/types.h"

namespace coppice {

class Charges {
 public:
  // Nothing of the disk may be written, or freed, since `blocks` were counted.
  void begin(DiskId disk, std::uint64_t blocks, std::uint64_t limit_blocks) {
    all_[disk] = {blocks, limit_blocks, 0};
  }
  void set_limit(DiskId disk, std::uint64_t limit_blocks) {
    if (const auto place = all_.find(disk); place != all_.end()) place->second.limit = limit_blocks;
  }
  void end(DiskId disk) { all_.erase(disk); }

  [[nodiscard]] bool any() const { return !all_.empty(); }
  // Nothing: it is not counted.
  [[nodiscard]] std::optional<std::uint64_t> blocks(DiskId disk) const {
    const auto place = all_.find(disk);
    return place == all_.end() ? std::nullopt : std::optional(place->second.blocks);
  }
  void mapped(DiskId disk, std::uint64_t count) {
    if (const auto place = all_.find(disk); place != all_.end()) place->second.blocks += count;
  }
  void freed(DiskId disk, std::uint64_t count) {
    if (const auto place = all_.find(disk); place != all_.end())
      place->second.blocks -= std::min(place->second.blocks, count);
  }

  // Keeps room for a write that makes the disk larger by at most so many blocks. One that does not is always
  // admitted. False: it would go beyond the quota.
  bool admit(DiskId disk, std::uint64_t growth) {
    const auto place = all_.find(disk);
    if (place == all_.end() || growth == 0) return true;
    Charge& charge = place->second;
    if (charge.blocks + charge.under_way + growth > charge.limit) return false;
    charge.under_way += growth;
    return true;
  }
  // … when it is published, or has failed.
  void settle(DiskId disk, std::uint64_t growth) {
    const auto place = all_.find(disk);
    if (place != all_.end() && place->second.under_way >= growth) place->second.under_way -= growth;
  }

 private:
  struct Charge {
    std::uint64_t blocks = 0;
    std::uint64_t limit = 0;
    std::uint64_t under_way = 0;
  };
  std::map<DiskId, Charge> all_;
};

}  // namespace coppice
