// Marks and the disk: one write and one sync at a time, which all who wait share.
#include <bit>
#include <cstring>
#include <utility>

#include "base/mutation.h"
#include "coppice/aligned_buffer.h"
#include "pool/granule_slab.h"
#include "pool/requests.h"
#include "pool/superblocks.h"

namespace coppice {

namespace {

std::uint64_t load_word(std::span<const std::byte> from, std::size_t at) {
  std::uint64_t word = 0;
  std::memcpy(&word, from.data() + at, sizeof word);
  return word;
}

void store_word(std::span<std::byte> into, std::size_t at, std::uint64_t word) {
  std::memcpy(into.data() + at, &word, sizeof word);
}

}  // namespace

Result<> Granules::adopt(Slab& slab, std::span<const std::byte> both, bool marks_become_suspects) {
  const std::uint64_t page = SlabLayout{}.granule_page();
  const auto chosen = choose_copy(both, slab.start.next(page));
  if (!chosen) {
    slab.pair = {.damaged_other = true};
    ++lost_pages_;
    return {};
  }
  slab.pair = chosen->pair;
  slab.disk_marks = load_word(chosen->content, kGranuleMarksAt - kPageHeaderBytes);
  slab.disk_suspects = load_word(chosen->content, kSuspectsAt - kPageHeaderBytes);
  slab.suspects = slab.disk_suspects;
  if (!marks_become_suspects)
    slab.active |= slab.disk_marks;
  else if (!mutated(Mutation::kMarksForgotten))
    slab.suspects |= slab.disk_marks;
  return {};
}

Task<Result<>> Granules::load(bool marks_become_suspects) {
  for (std::uint64_t member = 0; member < slabs_.size(); ++member)
    while (slabs_[member].size() < pool_.superblock(member).slab_count)
      add_slab(member, slabs_[member].size());
  std::vector<AlignedBuffer> pages;
  std::vector<FileRequest> requests;
  for (const Slab* slab : order_) {
    pages.emplace_back(kPagePairBytes);
    const PhysicalBlock page = slab->start.next(SlabLayout{}.granule_page());
    requests.push_back(read_request(pool_.file(page.member()), page.offset_bytes(), pages.back().span()));
  }
  auto read = co_await perform_all(requests);
  if (!read) co_return read;
  for (std::size_t i = 0; i < order_.size(); ++i)
    if (auto adopted = adopt(*order_[i], pages[i].span(), marks_become_suspects); !adopted) co_return adopted;
  co_return Result<>{};
}

// Each mark costs those who wait for it a flush of the device, which may take as long as hundreds of their
// writes. So some that follow are marked with it: a guest that writes all over 1 GiB waits a dozen times in
// place of 64, and one granule in four at the least is one that is written to. Who writes to one marks it
// alone.
std::uint64_t Granules::marks_ahead(const Slab& slab) const {
  constexpr int kForEach = 3;
  const SlabPlace place = *pool_.locate(slab.start);
  const auto granules = static_cast<int>(pool_.slab_layout(place.member).granules());
  const std::uint64_t there = slab.active | slab.taken | slab.requested;
  std::uint64_t ahead = 0;
  int left = kForEach * (std::popcount(slab.touched) - 1) - std::popcount(slab.ahead & ~slab.touched);
  const int first = 64 - std::countl_zero(slab.requested);
  for (int step = 0; step < granules && left > 0; ++step) {
    const std::uint64_t bit = std::uint64_t{1} << ((first + step) % granules);
    if ((there & bit) != 0) continue;
    ahead |= bit;
    --left;
  }
  return ahead;
}

Task<Result<>> Granules::ensure_marked(PhysicalRun run) {
  const Place place = find(run);
  if (place.slab == nullptr) co_return fail(ErrorKind::kCorrupt, 0, "a block address outside the pool");
  Slab& slab = *place.slab;
  while ((slab.active & place.granules) != place.granules) {
    if (broken_) co_return std::unexpected(*broken_);
    slab.touched |= place.granules;
    // A mark that was taken is on disk as long as clear_taken() has not begun.
    const std::uint64_t again = slab.taken & place.granules;
    slab.taken &= ~again;
    slab.active |= again;
    if ((slab.active & place.granules) == place.granules) break;
    const bool first = slab.requested == 0;  // of those who share the next write
    slab.requested |= place.granules & ~slab.active;
    if (first) {
      const std::uint64_t ahead = marks_ahead(slab);
      slab.requested |= ahead;
      slab.ahead |= ahead;
    }
    if (committing_) {
      co_await committed_.wait();
    } else {
      auto done = co_await commit();
      if (!done) co_return done;
    }
  }
  co_return Result<>{};
}

Task<Result<>> Granules::clear_taken() {
  while (committing_) co_await committed_.wait();
  if (broken_) co_return std::unexpected(*broken_);
  for (Slab* slab : order_) {
    if (mutated(Mutation::kMarkTakenLate)) slab->active &= ~slab->taken;
    slab->taken = 0;
  }
  auto done = co_await commit();
  co_return done;
}

Task<Result<>> Granules::clear_all() {
  while (committing_) co_await committed_.wait();
  if (broken_) co_return std::unexpected(*broken_);
  for (Slab* slab : order_) slab->active = slab->taken = slab->requested = slab->touched = slab->ahead = 0;
  auto done = co_await commit();
  co_return done;
}

// Writes what the marks and suspects are now; those who ask meanwhile wait for the next one.
Task<Result<>> Granules::commit() {
  committing_ = true;
  std::vector<Slab*> changed;
  for (Slab* slab : order_)
    if (slab->changed()) changed.push_back(slab);
  Result<> done;
  if (!changed.empty()) done = co_await write_changed(std::move(changed));
  if (!done) broken_ = done.error();
  committing_ = false;
  committed_.wake_all();
  co_return done;
}

Task<Result<>> Granules::write_changed(std::vector<Slab*> changed) {
  struct Wanted {
    std::uint64_t marks;
    std::uint64_t suspects;
    std::uint64_t requested;
  };
  AlignedBuffer images(changed.size() * kBlockBytes);
  std::memset(images.data(), 0, images.size());
  std::vector<Wanted> wanted;
  std::vector<PageWrite> writes;
  std::vector<bool> touched(pool_.members().size());
  for (std::size_t i = 0; i < changed.size(); ++i) {
    Slab& slab = *changed[i];
    const auto image = images.span().subspan(i * kBlockBytes).first<kBlockBytes>();
    wanted.push_back({slab.wanted_marks(), slab.suspects, slab.requested});
    store_word(image, kGranuleMarksAt, wanted.back().marks);
    store_word(image, kSuspectsAt, wanted.back().suspects);
    writes.push_back(
        {.pair = &slab.pair, .first = slab.start.next(SlabLayout{}.granule_page()), .image = image});
    touched[slab.start.member()] = true;
  }
  auto written = co_await write_pages(pool_, writes, 1);
  if (!written) co_return written;
  std::vector<BlockFile*> files;
  for (std::size_t member = 0; member < touched.size(); ++member)
    if (touched[member]) files.push_back(&pool_.file(member));
  auto synced = co_await sync_files(std::move(files));
  if (!synced) co_return synced;
  for (std::size_t i = 0; i < changed.size(); ++i) {
    Slab& slab = *changed[i];
    slab.disk_marks = wanted[i].marks;
    slab.disk_suspects = wanted[i].suspects;
    slab.active |= wanted[i].requested;
    slab.requested &= ~wanted[i].requested;
  }
  co_return Result<>{};
}

}  // namespace coppice
