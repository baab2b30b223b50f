#include "pool/member_plan.h"

#include <catch2/catch.hpp>

#include "layout/slab.h"

namespace coppice {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

Superblock plan_one(std::uint64_t size_bytes, bool grows) {
  const MemberSize member{"pool.0", size_bytes, grows};
  auto plan = plan_members({&member, 1});
  if (!plan) FAIL(plan.error().message);
  return plan->front();
}

TEST_CASE("the default growing pool has a 64 MiB journal and slabs of 1 GiB") {
  const Superblock superblock = plan_one(0, true);
  CHECK(superblock.grows);
  CHECK(superblock.journal_offset_bytes == 4 * kMiB);
  CHECK(superblock.journal_bytes == 64 * kMiB);
  CHECK(superblock.slabs_offset_bytes == 68 * kMiB);
  CHECK(superblock.slab_blocks == kDefaultSlabBlocks);
  CHECK(superblock.max_slabs > 1'000'000);
}

TEST_CASE("slabs are the largest power of two of which eight fit") {
  CHECK(plan_one(64 * kMiB, false).slab_blocks == kMinSlabBlocks);
  CHECK(plan_one(kGiB, false).slab_blocks == 64 * kMiB / kBlockBytes);
  CHECK(plan_one(20 * kGiB, false).slab_blocks == kDefaultSlabBlocks);
  CHECK(plan_one(1024 * kGiB, false).slab_blocks == kDefaultSlabBlocks);
  const Superblock gib = plan_one(kGiB, false);
  CHECK(gib.max_slabs == (1024 - 4 - 64) / 64);
}

TEST_CASE("the journal follows the size within its bounds") {
  CHECK(plan_one(64 * kMiB, false).journal_bytes == 8 * kMiB);
  CHECK(plan_one(4 * kGiB, false).journal_bytes == 64 * kMiB);
  CHECK(plan_one(256 * kGiB, false).journal_bytes == 256 * kMiB);
  CHECK(plan_one(4096 * kGiB, false).journal_bytes == 1024 * kMiB);
}

TEST_CASE("the journal counts all members and stands in the first") {
  const std::vector<MemberSize> members = {{"a", 128 * kGiB, false}, {"b", 128 * kGiB, false}};
  const auto plan = plan_members(members);
  REQUIRE(plan.has_value());
  CHECK((*plan)[0].journal_bytes == 256 * kMiB);
  CHECK((*plan)[1].journal_bytes == 0);
  CHECK((*plan)[1].slabs_offset_bytes == kSuperblockAreaBytes);
  CHECK((*plan)[1].member == 1);
  CHECK((*plan)[1].member_count == 2);
}

TEST_CASE("a member without room for a slab is refused by name, with what would do") {
  const MemberSize member{"/x/pool.0", 20 * kMiB, false};
  const auto plan = plan_members({&member, 1});
  REQUIRE_FALSE(plan.has_value());
  CHECK(plan.error().kind == ErrorKind::kInvalid);
  CHECK(plan.error().message == "pool file /x/pool.0 of 20.0 MiB is too small: give it at least 22.0 MiB");
  CHECK(plan_one(22 * kMiB, false).max_slabs == 1);
}

TEST_CASE("an impossible geometry is seen") {
  Superblock superblock = plan_one(kGiB, false);
  CHECK(geometry_is_sane(superblock));
  superblock.slab_blocks = 5000;
  CHECK_FALSE(geometry_is_sane(superblock));
  superblock = plan_one(kGiB, false);
  superblock.slab_count = superblock.max_slabs + 1;
  CHECK_FALSE(geometry_is_sane(superblock));
  superblock = plan_one(kGiB, false);
  superblock.journal_bytes = 0;
  CHECK_FALSE(geometry_is_sane(superblock));
}

}  // namespace
}  // namespace coppice
