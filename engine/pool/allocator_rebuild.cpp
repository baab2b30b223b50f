// Bitmap pages of which nothing is known any more, made anew from what the map names.
#include <algorithm>
#include <bit>
#include <utility>

#include "pool/allocator_slab.h"

namespace coppice {

std::uint64_t Allocator::doubtful_pages() const {
  std::uint64_t pages = 0;
  for (const Slab* slab : order_) pages += static_cast<std::uint64_t>(std::popcount(slab->doubtful_pages));
  return pages;
}

BlockSet Allocator::no_blocks() const {
  BlockSet set(pool_);
  for (const auto& member : slabs_) {
    auto& bitmaps = set.bitmaps_.emplace_back();
    for (const auto& slab : member) bitmaps.emplace_back(slab->owned.size());
  }
  return set;
}

Result<> Allocator::rebuild(const BlockSet& mapped) {
  std::vector<std::vector<std::uint64_t>> rebuilt;
  for (std::size_t member = 0; member < slabs_.size(); ++member) {
    for (std::size_t i = 0; i < slabs_[member].size(); ++i) {
      const Slab& slab = *slabs_[member][i];
      rebuilt.push_back(mapped.bitmaps_[member][i]);
      for_each_word(0, slab.layout.first_data_block(),
                    [&](std::uint64_t word, std::uint64_t mask) { rebuilt.back()[word] |= mask; });
      for (std::size_t word = 0; word < slab.owned.size(); ++word) {
        const bool doubtful = (slab.doubtful_pages >> (word / kWordsPerPage) & 1) != 0;
        if (!doubtful && rebuilt.back()[word] != slab.owned[word])
          return fail(ErrorKind::kCorrupt, 0, "the map and the allocation bitmap do not agree");
      }
    }
  }
  std::size_t at = 0;
  for (const auto& member : slabs_) {
    for (const auto& slab : member) {
      const std::vector<std::uint64_t>& bits = rebuilt[at++];
      if (slab->doubtful_pages == 0) continue;
      std::uint64_t before = 0;
      std::uint64_t after = 0;
      for (const std::uint64_t word : slab->owned) before += count_bits(word);
      for (const std::uint64_t word : bits) after += count_bits(word);
      // Unsigned arithmetic that wraps and wraps back.
      owned_data_ += after - before;
      slab->free += before - after;
      free_ += before - after;
      slab->owned = bits;
      slab->busy = bits;
      slab->longest_run = slab->layout.slab_blocks;
      slab->dirty_pages |= slab->doubtful_pages;
      slab->rebuilt_pages |= slab->doubtful_pages;
      slab->doubtful_pages = 0;
    }
  }
  return {};
}

void Allocator::rewrite_rebuilt() {
  for (Slab* slab : order_) slab->dirty_pages |= std::exchange(slab->rebuilt_pages, 0);
}

}  // namespace coppice
