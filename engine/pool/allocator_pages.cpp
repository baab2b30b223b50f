// The allocator's bitmaps on disk: loading them, and the pages that a checkpoint writes.
#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "pool/allocator_slab.h"
#include "pool/requests.h"

namespace coppice {

static_assert(std::endian::native == std::endian::little, "bitmap words reach the disk as they are");

namespace {

constexpr std::size_t kSlabsAtOnce = 16;

// Slab header, granule page and bitmap pages stand together at the front and are read together.
std::uint64_t front_bytes(const SlabLayout& layout) {
  return layout.bitmap_page(layout.bitmap_pages()) * kBlockBytes;
}

// Whether the copy that is left may be the older one. Both are sealed when a slab is added.
bool may_be_stale(const PagePair& pair) {
  return pair.damaged_other || pair.zero_other;
}

}  // namespace

Result<> Allocator::adopt(Slab& slab, std::span<const std::byte> front) {
  const auto header = decode_slab_header(front.first<kBlockBytes>());
  const SlabPlace place = pool_.locate(slab.start).value_or(SlabPlace{});
  if (!header) damaged_headers_.push_back({place.member, place.slab});
  if (header &&
      *header != SlabHeader{pool_.superblock(place.member).store, static_cast<std::uint32_t>(place.member),
                            place.slab, slab.layout.slab_blocks})
    return fail(ErrorKind::kCorrupt, 0, "a slab header of the pool speaks of another slab");

  for (std::size_t page = 0; page < slab.pages.size(); ++page) {
    const std::uint64_t block = slab.layout.bitmap_page(page);
    const auto chosen =
        choose_copy(front.subspan(block * kBlockBytes, kPagePairBytes), slab.start.next(block));
    if (chosen) slab.pages[page] = chosen->pair;
    const std::size_t first = page * kWordsPerPage;
    const std::size_t words = std::min<std::size_t>(kWordsPerPage, slab.owned.size() - first);
    if (!chosen || may_be_stale(chosen->pair)) {
      ++repaired_pages_;
      slab.doubtful_pages |= std::uint64_t{1} << page;
      std::fill_n(slab.owned.begin() + static_cast<std::ptrdiff_t>(first), words, ~std::uint64_t{0});
      continue;
    }
    std::vector<std::uint64_t> stored(words);
    std::memcpy(stored.data(), chosen->content.data(), words * sizeof(std::uint64_t));
    // Metadata blocks are owned whatever a page that was never written says.
    for (std::size_t i = 0; i < words; ++i) slab.owned[first + i] |= stored[i];
  }

  std::uint64_t owned_blocks = 0;
  for (const std::uint64_t word : slab.owned) owned_blocks += count_bits(word);
  slab.busy = slab.owned;
  const std::uint64_t taken = owned_blocks - slab.layout.first_data_block();
  slab.free -= taken;
  free_ -= taken;
  owned_data_ += taken;
  return {};
}

Task<Result<>> Allocator::load() {
  for (std::uint64_t member = 0; member < slabs_.size(); ++member)
    while (slabs_[member].size() < pool_.superblock(member).slab_count)
      add_slab(member, slabs_[member].size());

  const std::span<Slab* const> all(order_);
  for (std::size_t done = 0; done < all.size(); done += kSlabsAtOnce) {
    const auto some = all.subspan(done, std::min(kSlabsAtOnce, all.size() - done));
    std::vector<AlignedBuffer> fronts;
    std::vector<FileRequest> requests;
    for (const Slab* slab : some) {
      fronts.emplace_back(front_bytes(slab->layout));
      BlockFile& file = pool_.file(slab->start.member());
      requests.push_back(read_request(file, slab->start.offset_bytes(), fronts.back().span()));
    }
    auto read = co_await perform_all(requests);
    if (!read) co_return read;
    for (std::size_t i = 0; i < some.size(); ++i)
      if (auto adopted = adopt(*some[i], fronts[i].span()); !adopted) co_return adopted;
  }
  co_return Result<>{};
}

std::vector<Allocator::PageImage> Allocator::collect_dirty(std::size_t max_pages) {
  std::vector<PageImage> images;
  for (Slab* slab : order_) {
    while ((slab->dirty_pages & ~slab->doubtful_pages) != 0 && images.size() < max_pages) {
      const auto page = static_cast<std::size_t>(std::countr_zero(slab->dirty_pages & ~slab->doubtful_pages));
      slab->dirty_pages &= ~(std::uint64_t{1} << page);
      AlignedBuffer bytes(kBlockBytes);
      std::memset(bytes.data(), 0, kBlockBytes);
      const std::size_t first = page * kWordsPerPage;
      const std::size_t words = std::min<std::size_t>(kWordsPerPage, slab->owned.size() - first);
      std::memcpy(bytes.data() + kPageHeaderBytes, slab->owned.data() + first, words * sizeof(std::uint64_t));
      images.push_back({std::move(bytes), slab, page});
    }
  }
  return images;
}

Task<Result<>> Allocator::write(std::vector<PageImage> pages, std::uint64_t sequence) {
  std::vector<PageWrite> writes;
  for (PageImage& image : pages)
    writes.push_back({.pair = &image.slab->pages[image.page],
                      .first = image.slab->start.next(image.slab->layout.bitmap_page(image.page)),
                      .image = image.bytes.span().first<kBlockBytes>()});
  auto done = co_await write_pages(pool_, writes, sequence);
  for (std::size_t i = 0; i < pages.size(); ++i)
    if (!writes[i].written) pages[i].slab->dirty_pages |= std::uint64_t{1} << pages[i].page;
  co_return done;
}

}  // namespace coppice
