// The allocation bitmaps on disk: what survives, and what a damaged copy costs.
#include <algorithm>

#include "pool/allocator.h"
#include "pool_fixture.h"

namespace coppice {
namespace {

struct Fixture : test::PoolFixture {
  std::unique_ptr<Allocator> allocator;

  void load() {
    allocator = std::make_unique<Allocator>(*pool);
    must(allocator->load());
  }
  void checkpoint(std::uint64_t sequence) {
    must(allocator->write(allocator->collect_dirty(1000), sequence));
    must(pool->sync_all());
  }
  PhysicalRun allocate_owned(std::uint64_t count) {
    std::vector<PhysicalRun> runs;
    REQUIRE(allocator->allocate(count, {}, runs));
    REQUIRE(runs.size() == 1);
    allocator->own(runs[0]);
    return runs[0];
  }
  PhysicalBlock bitmap_copy(std::uint64_t copy) {
    return pool->slab_start(0, 0).next(pool->slab_layout(0).bitmap_page(0) + copy);
  }
};

TEST_CASE_METHOD(Fixture, "only what is owned survives a reopen") {
  make_pool(2);
  load();
  const PhysicalRun owned = allocate_owned(100);
  std::vector<PhysicalRun> busy;
  REQUIRE(allocator->allocate(50, {}, busy));
  const PhysicalRun freed = allocate_owned(10);
  checkpoint(1);
  allocator->disown(freed);
  checkpoint(2);

  reopen();
  load();
  CHECK(allocator->owned_data_blocks() == 100);
  CHECK(allocator->free_blocks() == allocator->data_blocks() - 100);
  for (std::uint64_t i = 0; i < 100; ++i) CHECK(allocator->owned(owned.first.next(i)));
  CHECK_FALSE(allocator->owned(busy[0].first));
  CHECK_FALSE(allocator->owned(freed.first));
  CHECK(allocator->repaired_pages() == 0);
}

TEST_CASE_METHOD(Fixture, "unchanged pages are not collected, and at most as many as asked for") {
  make_pool(3);
  load();
  CHECK(allocator->collect_dirty(10).empty());
  for (std::uint64_t slab = 0; slab < 3; ++slab)
    allocator->own({pool->slab_start(0, slab).next(pool->slab_layout(0).first_data_block()), 1});
  auto first = allocator->collect_dirty(2);
  CHECK(first.size() == 2);
  auto rest = allocator->collect_dirty(2);
  CHECK(rest.size() == 1);
  must(allocator->write(std::move(first), 1));
  must(allocator->write(std::move(rest), 1));
  CHECK(allocator->collect_dirty(10).empty());
  load();
  CHECK(allocator->owned_data_blocks() == 3);
}

TEST_CASE_METHOD(Fixture, "a page with a damaged copy gives nothing away until it is rebuilt") {
  make_pool(1);
  load();
  const PhysicalRun first = allocate_owned(10);
  checkpoint(1);
  const PhysicalRun more = allocate_owned(20);
  checkpoint(2);
  const std::uint64_t copy = GENERATE(0U, 1U);
  if (GENERATE(false, true)) {
    flip_bytes(bitmap_copy(copy));
  } else {
    AlignedBuffer zeroes(kBlockBytes);
    std::memset(zeroes.data(), 0, kBlockBytes);
    must(write_blocks(pool->file(0), bitmap_copy(copy).offset_bytes(), zeroes.span()));
  }
  load();
  CHECK(allocator->doubtful_pages() == 1);
  CHECK(allocator->free_blocks() == 0);
  CHECK(allocator->collect_dirty(10).empty());

  BlockSet mapped = allocator->no_blocks();
  CHECK(mapped.add(first));
  CHECK(mapped.add(more));
  CHECK_FALSE(mapped.add({pool->slab_start(0, 0), 1}));
  CHECK_FALSE(mapped.add({pool->slab_start(0, 1), 1}));
  REQUIRE(allocator->rebuild(mapped).has_value());
  CHECK(allocator->doubtful_pages() == 0);
  CHECK(allocator->owned_data_blocks() == 30);
  CHECK(allocator->free_blocks() == allocator->data_blocks() - 30);
  checkpoint(3);
  allocator->rewrite_rebuilt();
  checkpoint(3);
  load();
  CHECK(allocator->doubtful_pages() == 0);
  CHECK(allocator->owned_data_blocks() == 30);
}

TEST_CASE_METHOD(Fixture, "a map that the whole pages contradict rebuilds nothing") {
  make_pool(2);
  load();
  allocate_owned(10);
  checkpoint(1);
  flip_bytes(pool->slab_start(0, 1).next(pool->slab_layout(0).bitmap_page(0)));
  load();
  CHECK(allocator->doubtful_pages() == 1);
  const BlockSet nothing = allocator->no_blocks();
  const auto rebuilt = allocator->rebuild(nothing);
  REQUIRE_FALSE(rebuilt.has_value());
  CHECK(rebuilt.error().kind == ErrorKind::kCorrupt);
  CHECK(allocator->doubtful_pages() == 1);
}

TEST_CASE_METHOD(Fixture, "equal sequences still tell the copies apart") {
  make_pool(1);
  load();
  allocate_owned(10);
  checkpoint(7);
  allocate_owned(10);
  checkpoint(7);
  allocate_owned(10);
  checkpoint(7);
  load();
  CHECK(allocator->owned_data_blocks() == 30);
}

TEST_CASE_METHOD(Fixture, "a damaged slab header is noted, one of another slab is corrupt") {
  make_pool(2);
  load();
  const AlignedBuffer other = read_raw(pool->slab_start(0, 1).offset_bytes(), kBlockBytes);
  flip_bytes(pool->slab_start(0, 0));
  load();
  REQUIRE(allocator->damaged_headers().size() == 1);
  CHECK(allocator->damaged_headers()[0].slab == 0);
  must(pool->write_slab_header(0, 0));
  load();
  CHECK(allocator->damaged_headers().empty());
  must(write_blocks(pool->file(0), pool->slab_start(0, 0).offset_bytes(), other.span()));
  Allocator damaged(*pool);
  const auto loaded = run(damaged.load());
  REQUIRE_FALSE(loaded.has_value());
  CHECK(loaded.error().kind == ErrorKind::kCorrupt);
}

TEST_CASE_METHOD(Fixture, "a failed page write leaves the pages dirty and the older copy whole") {
  make_pool(1);
  load();
  allocate_owned(10);
  checkpoint(1);
  allocate_owned(10);
  tap.fail = [](const IoRequest& request) { return request.kind == IoRequest::Kind::kWrite ? EIO : 0; };
  const auto failed = run(allocator->write(allocator->collect_dirty(10), 2));
  REQUIRE_FALSE(failed.has_value());
  CHECK(failed.error().kind == ErrorKind::kIo);
  tap.fail = nullptr;
  Allocator other(*pool);
  must(other.load());
  CHECK(other.owned_data_blocks() == 10);
  checkpoint(3);
  load();
  CHECK(allocator->owned_data_blocks() == 20);
}

TEST_CASE_METHOD(Fixture, "a pool of slabs with several bitmap pages keeps every bit in its place") {
  // A growing file has slabs of 1 GiB, with nine bitmap pages.
  const auto created = try_create({{scratch.file("pool.0"), 0}});
  REQUIRE(created.has_value());
  reopen();
  must(pool->add_slab());
  load();
  const PhysicalBlock start = pool->slab_start(0, 0);
  const std::vector<std::uint64_t> places = {
      pool->slab_layout(0).first_data_block(), 32639, 32640, 65279, 65280, 200000, kDefaultSlabBlocks - 1};
  for (const std::uint64_t place : places) allocator->own({start.next(place), 1});
  checkpoint(1);
  reopen();
  load();
  CHECK(allocator->owned_data_blocks() == places.size());
  for (const std::uint64_t place : places) CHECK(allocator->owned(start.next(place)));
}

}  // namespace
}  // namespace coppice
