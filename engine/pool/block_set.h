// BlockSet: some of the pool's blocks, a bit each, by member and slab.
#pragma once

#include <cstdint>
#include <vector>

#include "layout/record.h"
#include "pool/bits.h"
#include "pool/pool.h"

namespace coppice {

class BlockSet {
 public:
  // False, and nothing added, for a run that is not wholly in the data of one slab that the pool names.
  bool add(PhysicalRun run) {
    const auto place = pool_.locate(run.first);
    if (!place || place->slab >= bitmaps_[place->member].size()) return false;
    const SlabLayout layout = pool_.slab_layout(place->member);
    if (place->index < layout.first_data_block() || run.count > layout.slab_blocks - place->index)
      return false;
    auto& bitmap = bitmaps_[place->member][place->slab];
    for_each_word(place->index, run.count,
                  [&](std::uint64_t word, std::uint64_t mask) { bitmap[word] |= mask; });
    return true;
  }

 private:
  friend class Allocator;
  explicit BlockSet(const Pool& pool) : pool_(pool) {}
  const Pool& pool_;
  std::vector<std::vector<std::vector<std::uint64_t>>> bitmaps_;  // [member][slab]
};

}  // namespace coppice
