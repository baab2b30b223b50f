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

TEST_CASE_METHOD(Fixture, "with the newer copy damaged the older one counts, and is repaired") {
  make_pool(1);
  load();
  allocate_owned(10);
  checkpoint(1);  // copy 1: the fresh page is copy 0
  allocate_owned(20);
  checkpoint(2);  // copy 0
  flip_bytes(bitmap_copy(0));
  load();
  CHECK(allocator->owned_data_blocks() == 10);
  CHECK(allocator->repaired_pages() == 1);

  checkpoint(3);
  flip_bytes(bitmap_copy(1));
  load();
  CHECK(allocator->owned_data_blocks() == 10);
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

TEST_CASE_METHOD(Fixture, "with both copies damaged, or the slab's header, loading says corrupt") {
  make_pool(1);
  load();
  allocate_owned(10);
  checkpoint(1);
  allocate_owned(10);
  checkpoint(2);
  bool header = false;
  SECTION("both copies") {
    flip_bytes(bitmap_copy(0));
    flip_bytes(bitmap_copy(1));
  }
  SECTION("the header") {
    header = true;
    flip_bytes(pool->slab_start(0, 0));
  }
  Allocator damaged(*pool);
  const auto loaded = run(damaged.load());
  REQUIRE_FALSE(loaded.has_value());
  CHECK(loaded.error().kind == ErrorKind::kCorrupt);
  CHECK((std::string(loaded.error().text).find("header") != std::string::npos) == header);
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
