// What waits for the journal's proof, taken up in slices.
#include "pool/pending.h"

#include "pool_fixture.h"

using namespace coppice;

namespace {

using Fixture = test::PoolFixture;

PhysicalRun take_one(Allocator& allocator) {
  std::vector<PhysicalRun> runs;
  REQUIRE(allocator.allocate(1, PhysicalBlock{0}, runs));
  allocator.own(runs.front());
  return runs.front();
}

}  // namespace

TEST_CASE_METHOD(Fixture, "so many runs are settled as are asked for, what is mapped before what is freed") {
  make_pool(1);
  Allocator allocator(*pool);
  must(allocator.load());
  PendingBlocks pending(allocator);
  const PhysicalRun mapped = take_one(allocator);
  const PhysicalRun later = take_one(allocator);
  const PhysicalRun freed = take_one(allocator);
  const std::uint64_t free = allocator.free_blocks();
  pending.mapped(10, mapped);
  pending.mapped(30, later);
  allocator.disown(freed);
  pending.freed(20, std::span(&freed, 1));
  CHECK_FALSE(pending.due(9));
  CHECK(pending.due(20));
  CHECK_FALSE(pending.settle(20, 1));
  CHECK_FALSE(allocator.unproven(mapped.first));
  CHECK(allocator.free_blocks() == free);
  CHECK(pending.due(20));
  CHECK(pending.settle(20, 1));
  CHECK(allocator.free_blocks() == free + 1);
  CHECK_FALSE(pending.due(20));
  CHECK(allocator.unproven(later.first));
  CHECK(pending.due(30));
}

TEST_CASE_METHOD(Fixture, "what a read may have looked up is not due before the read has ended") {
  make_pool(1);
  Allocator allocator(*pool);
  must(allocator.load());
  PendingBlocks pending(allocator);
  const PhysicalRun freed = take_one(allocator);
  const std::uint64_t read = pending.begin_read();
  allocator.disown(freed);
  pending.freed(20, std::span(&freed, 1));
  CHECK_FALSE(pending.due(20));
  CHECK_FALSE(pending.settle(20));
  CHECK(pending.quarantined_blocks() == 1);
  pending.end_read(read);
  CHECK(pending.due(20));
  CHECK(pending.settle(20));
  CHECK(pending.blocks() == 0);
}
