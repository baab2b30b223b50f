// A slab as the allocator keeps it: its bitmaps, and the state of the pages that they stand in on disk. For
// allocator*.cpp only.
#pragma once

#include <cstdint>
#include <vector>

#include "pool/allocator.h"
#include "pool/bits.h"
#include "pool/page_pair.h"

namespace coppice {

inline constexpr std::uint64_t kWordsPerPage = kBitmapBlocksPerPage / kWordBits;
static_assert(kBitmapBlocksPerPage % kWordBits == 0);

struct Allocator::Slab {
  Slab(PhysicalBlock slab_start, SlabLayout slab_layout);

  // The first free run of at least `count` blocks in [from, end), or the slab's size. A search of the whole
  // slab that finds nothing learns how long its longest run is.
  std::uint64_t find_run(std::uint64_t from, std::uint64_t count);
  // After [index, count) became free: keeps `longest_run` an upper bound.
  void note_free_run(std::uint64_t index, std::uint64_t count);
  void mark_page_dirty(std::uint64_t index) {
    dirty_pages |= std::uint64_t{1} << (index / kBitmapBlocksPerPage);
  }

  PhysicalBlock start;
  SlabLayout layout;
  std::vector<std::uint64_t> busy;
  std::vector<std::uint64_t> owned;
  std::vector<std::uint64_t> unproven;
  std::uint64_t free = 0;
  std::uint64_t longest_run = 0;  // no free run is longer; keeps full slabs out of the search
  std::vector<PagePair> pages;
  std::uint64_t dirty_pages = 0;     // a bit per page
  std::uint64_t doubtful_pages = 0;  // … whose content is not known
  std::uint64_t rebuilt_pages = 0;   // … of which one copy is still damaged
  // A bit per unit (allocator_idle.cpp).
  std::uint64_t touched = 0;    // blocks of it were handed out since the last look
  std::uint64_t was_idle = 0;   // free at the last settled look, and ever since
  std::uint64_t discarded = 0;  // its device knows that it is free
};

}  // namespace coppice
