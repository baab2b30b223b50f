#include "pool/checksum_pages.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "pool/checksum_page.h"

namespace coppice {

namespace {
constexpr std::size_t kLeastPages = 16;
// At a time; what is over the limit then is looked at with the next request.
constexpr unsigned kTrimLooks = 64;
}  // namespace

ChecksumPages::ChecksumPages(Scheduler& scheduler, Pool& pool, std::size_t limit_bytes)
    : pool_(pool),
      limit_pages_(std::max(limit_bytes / sizeof(Page), kLeastPages)),
      tables_(pool.members().size()),
      loaded_(scheduler) {}

ChecksumPages::~ChecksumPages() {
  for (auto& tables : tables_)
    for (Table& table : tables)
      for (Page* page : table)
        if (page != nullptr) memory_.drop(page);
}

ChecksumPages::Page** ChecksumPages::slot(const SlabPlace& place) {
  std::vector<Table>& tables = tables_[place.member];
  if (place.slab >= tables.size()) tables.resize(place.slab + 1);
  Table& table = tables[place.slab];
  if (table.empty()) table.resize(pool_.slab_layout(place.member).checksum_pages());
  return &table[place.index / kChecksumsPerPage];
}

bool ChecksumPages::covers(PhysicalRun run) const {
  const auto place = pool_.locate(run.first);
  return place && run.count > 0 && run.count <= pool_.slab_layout(place->member).slab_blocks - place->index;
}

template <class Visit>
void ChecksumPages::for_each_page(PhysicalRun run, Visit visit) {
  assert(covers(run));
  const SlabPlace place = *pool_.locate(run.first);
  const SlabLayout layout = pool_.slab_layout(place.member);
  Page** pages = slot({place.member, place.slab, 0});
  const std::uint64_t last = (place.index + run.count - 1) / kChecksumsPerPage;
  for (std::uint64_t page = place.index / kChecksumsPerPage; page <= last; ++page)
    visit(pages[page], PhysicalBlock{run.first.value - place.index + layout.checksum_page(page)});
}

void ChecksumPages::hold(Page& page) {
  ++page.pins;
  page.used = true;
}

// The page goes where it belongs after a write or a load ended.
void ChecksumPages::settle(Page& page) {
  if (!page.dirty && !page.writing) clean_.push_back(page);
}

void ChecksumPages::let_go(Page*& page) {
  assert(page != nullptr && page->pins > 0);
  --page->pins;
  if (page->state != Page::State::kLoaded && page->pins == 0) drop(page);
}

void ChecksumPages::drop(Page*& page) {
  memory_.drop(std::exchange(page, nullptr));
  --pages_;
}

void ChecksumPages::trim() {
  const std::size_t looks = std::min<std::size_t>(kTrimLooks, 2 * clean_.size());
  for (std::size_t look = 0; look < looks && pages_ > limit_pages_ && !clean_.empty(); ++look) {
    Page& page = *clean_.front();
    clean_.remove(page);
    if (page.pins != 0 || std::exchange(page.used, false)) {
      clean_.push_back(page);
      continue;
    }
    const SlabPlace start = *pool_.locate(page.first);
    const SlabLayout layout = pool_.slab_layout(start.member);
    const std::uint64_t index = (start.index - layout.checksum_page(0)) / 2;
    drop(tables_[start.member][start.slab][index]);
  }
}

bool ChecksumPages::try_pin(PhysicalRun run) {
  if (!covers(run)) return false;
  bool all = true;
  for_each_page(run, [&](const Page* page, PhysicalBlock) {
    all = all && page != nullptr && page->state == Page::State::kLoaded;
  });
  if (!all) return false;
  for_each_page(run, [&](Page* page, PhysicalBlock) { hold(*page); });
  // Asked for or set when the device has answered.
  const SlabPlace place = *pool_.locate(run.first);
  __builtin_prefetch(&(*slot(place))->checksums[place.index % kChecksumsPerPage]);
  return true;
}

void ChecksumPages::unpin(PhysicalRun run) {
  for_each_page(run, [&](Page*& page, PhysicalBlock) { let_go(page); });
  trim();
}

std::optional<std::uint32_t> ChecksumPages::get(PhysicalBlock block) {
  const auto place = pool_.locate(block);
  assert(place);
  const Page* page = *slot(*place);
  assert(page != nullptr && page->pins > 0 && page->state == Page::State::kLoaded);
  const std::uint32_t checksum = page->checksums[place->index % kChecksumsPerPage];
  if (checksum == kUnknownChecksum) return std::nullopt;
  return checksum;
}

void ChecksumPages::make_dirty(Page& page) {
  if (page.dirty) return;
  if (!page.writing && page.state == Page::State::kLoaded) clean_.remove(page);
  page.dirty = true;
  dirty_.push_back(page);
}

void ChecksumPages::set(PhysicalBlock first, std::span<const std::uint32_t> checksums) {
  const auto place = pool_.locate(first);
  assert(place);
  Page** page = slot(*place);
  std::uint64_t entry = place->index % kChecksumsPerPage;
  while (!checksums.empty()) {
    assert(*page && (*page)->pins > 0 && (*page)->state == Page::State::kLoaded);
    const auto here = checksums.first(std::min<std::size_t>(checksums.size(), kChecksumsPerPage - entry));
    std::ranges::copy(here, (*page)->checksums.begin() + static_cast<std::ptrdiff_t>(entry));
    make_dirty(**page);
    checksums = checksums.subspan(here.size());
    entry = 0;
    ++page;
  }
}

void ChecksumPages::set_unknown(PhysicalBlock block) {
  const std::uint32_t unknown = kUnknownChecksum;
  set(block, {&unknown, 1});
}

// The loading half of pin() needs the template above.
void ChecksumPages::start_loads(PhysicalRun run, std::vector<Load>& loads) {
  for_each_page(run, [&](Page*& page, PhysicalBlock first) {
    if (page == nullptr) {
      page = memory_.make().release();
      page->first = first;
      ++pages_;
      loads.push_back({page, AlignedBuffer(kPagePairBytes)});
    }
    hold(*page);
  });
}

Task<Result<>> ChecksumPages::wait_until_loaded(PhysicalRun run) {
  while (true) {
    bool loading = false;
    Result<> outcome;
    for_each_page(run, [&](const Page* page, PhysicalBlock) {
      loading = loading || page->state == Page::State::kLoading;
      if (page->state == Page::State::kFailed) outcome = std::unexpected(page->error);
    });
    if (!loading) co_return outcome;
    co_await loaded_.wait();
  }
}

}  // namespace coppice
