// Space made ready ahead, and given back: on real files, with what the file system says of them.
#include <sys/stat.h>

#include "pool/allocator.h"
#include "pool_fixture.h"

namespace coppice {
namespace {

using test::kMiB;

struct Fixture : test::PoolFixture {
  std::unique_ptr<Allocator> allocator;

  // A growing pool; its slabs are fallocated only.
  void make_growing(std::uint64_t slabs) {
    REQUIRE(try_create({{scratch.file("pool.0"), 0}}).has_value());
    reopen();
    for (std::uint64_t i = 0; i < slabs; ++i) must(pool->add_slab());
    load();
  }
  void load() {
    allocator = std::make_unique<Allocator>(*pool);
    must(allocator->load());
  }
  std::uint64_t backed_bytes() {
    struct stat status{};
    REQUIRE(stat(scratch.file("pool.0").c_str(), &status) == 0);
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  std::uint64_t first_hole() {
    const PhysicalBlock start = pool->slab_start(0, 0);
    const std::uint64_t end = start.next(pool->slab_layout(0).slab_blocks).offset_bytes();
    return pool->file(0).first_hole(start.offset_bytes(), end) - start.offset_bytes();
  }
  // Two looks, as nothing is idle at the first.
  std::vector<PhysicalRun> idle() {
    (void)allocator->idle_units(true);
    return allocator->idle_units(true);
  }
};

TEST_CASE_METHOD(Fixture, "a slab is made ready in steps, and is the one that is added") {
  make_growing(0);
  const std::uint64_t slab_bytes = pool->superblock().slab_blocks * kBlockBytes;
  const std::uint64_t generation = pool->superblock().generation;
  const auto first = must(pool->prepare_slab(kMiB));
  CHECK(first.written_bytes == kMiB);
  CHECK_FALSE(first.ready);
  CHECK(first_hole() == kMiB);
  std::uint64_t written = kMiB;
  Pool::Ahead step;
  while (!step.ready) {
    step = must(pool->prepare_slab(16 * kMiB));
    written += step.written_bytes;
  }
  CHECK(written == slab_bytes);
  CHECK(first_hole() == slab_bytes);
  // No superblock knows of it.
  CHECK(pool->superblock().generation == generation);
  CHECK(pool->superblock().slab_count == 0);
  must(pool->add_slab());
  CHECK(pool->superblock().slab_count == 1);
  CHECK(first_hole() == slab_bytes);
}

TEST_CASE_METHOD(Fixture, "a slab half ready is taken as it is, and gone on with after a crash") {
  make_growing(0);
  must(pool->prepare_slab(8 * kMiB));
  reopen();
  must(pool->prepare_slab(8 * kMiB));
  CHECK(first_hole() == 16 * kMiB);
  must(pool->add_slab());
  CHECK(pool->superblock().slab_count == 1);
  // What comes next is the slab behind it.
  must(pool->prepare_slab(kMiB));
  CHECK(first_hole() == 16 * kMiB);
}

TEST_CASE_METHOD(Fixture,
                 "units that stay free are given back, and have their space before they are free again") {
  make_growing(1);
  const std::uint64_t free = allocator->free_blocks();
  std::vector<PhysicalRun> taken;
  REQUIRE(allocator->allocate(10, PhysicalBlock{}, taken));
  const auto units = idle();
  REQUIRE(units.size() > 2);
  // The unit with the ten blocks is not among them.
  for (const PhysicalRun& unit : units) CHECK(unit.first.block() > taken[0].first.block());
  const std::uint64_t before = backed_bytes();
  must(allocator->give_back(units[0]));
  must(allocator->give_back(units[1]));
  CHECK(backed_bytes() <= before - (units[0].count + units[1].count) * kBlockBytes + kMiB);
  CHECK(allocator->free_blocks() == free - 10 - units[0].count - units[1].count);
  CHECK(allocator->returned_blocks() == units[0].count + units[1].count);
  must(allocator->take_back());
  CHECK(allocator->free_blocks() == free - 10 - units[0].count);
  CHECK(backed_bytes() >= before - units[0].count * kBlockBytes);
  while (must(allocator->refill(kMiB))) {
  }
  CHECK(allocator->free_blocks() == free - 10);
  CHECK_FALSE(allocator->can_take_back());
  const std::uint64_t start = units[0].first.offset_bytes();
  CHECK(pool->file(0).first_hole(start, start + units[0].count * kBlockBytes) ==
        start + units[0].count * kBlockBytes);
}

TEST_CASE_METHOD(Fixture, "a unit that was touched between the looks, or is in use again, stays") {
  make_growing(1);
  (void)allocator->idle_units(true);
  std::vector<PhysicalRun> taken;
  const PhysicalRun last = allocator->idle_units(true).back();
  REQUIRE(allocator->allocate(1, last.first, taken));
  // In use: asked for all the same, it is left alone.
  must(allocator->give_back(last));
  CHECK(allocator->returned_blocks() == 0);
  allocator->cancel(taken[0]);
  for (const PhysicalRun& unit : allocator->idle_units(true)) CHECK(unit.first.block() != last.first.block());
  // Not settled: not yet.
  CHECK(allocator->idle_units(false).empty());
  CHECK(idle().back().first.block() == last.first.block());
}

TEST_CASE_METHOD(Fixture, "after an open, free units without written space count as given back") {
  make_growing(1);
  const std::uint64_t free = allocator->free_blocks();
  allocator->note_holes();
  CHECK(allocator->free_blocks() == 0);
  CHECK(allocator->returned_blocks() == free);
  must(allocator->take_back());
  CHECK(allocator->free_blocks() > 0);
}

TEST_CASE_METHOD(Fixture, "a file of fixed size keeps its space") {
  make_pool(2);
  load();
  CHECK(idle().empty());
}

}  // namespace
}  // namespace coppice
