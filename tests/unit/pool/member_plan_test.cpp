#include "pool/member_plan.h"

#include <catch2/catch.hpp>

#include "layout/slab.h"

namespace coppice {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

Superblock plan_one(std::uint64_t size_bytes, bool grows) {
  const MemberSize member{"pool.0", size_bytes, grows ? 100 * 1024 * kGiB : 0, grows};
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
  CHECK(plan_one(2116 * kMiB, false).slab_blocks == 256 * kMiB / kBlockBytes);
  CHECK(plan_one(33 * kGiB, false).slab_blocks == kDefaultSlabBlocks);
  CHECK(plan_one(1024 * kGiB, false).slab_blocks == kDefaultSlabBlocks);
}

TEST_CASE("slabs are smaller where more than 1/32 would be left over") {
  const Superblock gib = plan_one(kGiB, false);  // 956 MiB behind the journal: 14 times 64 and 60
  CHECK(gib.slab_blocks == 32 * kMiB / kBlockBytes);
  CHECK(gib.max_slabs == (1024 - 4 - 64) / 32);
  CHECK(unused_bytes(gib, kGiB) == 28 * kMiB);
  CHECK(plan_one(9 * kGiB, false).slab_blocks == 256 * kMiB / kBlockBytes);
}

TEST_CASE("a growing file gets slabs that fit its file system") {
  MemberSize member{"pool", 0, 336 * kMiB, true};
  auto plan = plan_members({&member, 1});
  REQUIRE(plan.has_value());
  CHECK((*plan)[0].slab_blocks == 32 * kMiB / kBlockBytes);
  CHECK((*plan)[0].journal_bytes == 42 * kMiB);
  CHECK((*plan)[0].max_slabs > 1'000'000);
  member.room_bytes = 20 * kMiB;
  plan = plan_members({&member, 1});
  REQUIRE_FALSE(plan.has_value());
  CHECK(plan.error().kind == ErrorKind::kNoSpace);
  CHECK(plan.error().message ==
        "pool file pool: its file system has 20.0 MiB free, and it needs at least 21.0 MiB: free space or "
        "choose another");
}

TEST_CASE("a file of fixed size that was made longer is used to its end") {
  Superblock superblock = plan_one(kGiB, false);
  use_growth(superblock, kGiB + 63 * kMiB);
  CHECK(superblock.max_slabs == 31);
  use_growth(superblock, kGiB);
  CHECK(superblock.max_slabs == 31);
  superblock.grows = true;
  use_growth(superblock, 2 * kGiB);
  CHECK(superblock.max_slabs == 31);
}

TEST_CASE("the journal follows the size within its bounds") {
  CHECK(plan_one(64 * kMiB, false).journal_bytes == 8 * kMiB);
  CHECK(plan_one(4 * kGiB, false).journal_bytes == 64 * kMiB);
  CHECK(plan_one(256 * kGiB, false).journal_bytes == 256 * kMiB);
  CHECK(plan_one(4096 * kGiB, false).journal_bytes == 1024 * kMiB);
}

TEST_CASE("the journal counts all members and stands in the first") {
  const std::vector<MemberSize> members = {{"a", 128 * kGiB, 0, false}, {"b", 128 * kGiB, 0, false}};
  const auto plan = plan_members(members);
  REQUIRE(plan.has_value());
  CHECK((*plan)[0].journal_bytes == 256 * kMiB);
  CHECK((*plan)[1].journal_bytes == 0);
  CHECK((*plan)[1].slabs_offset_bytes == kSuperblockAreaBytes);
  CHECK((*plan)[1].member == 1);
  CHECK((*plan)[1].member_count == 2);
}

TEST_CASE("a member without room for a slab is refused by name, with what would do") {
  const MemberSize member{"/x/pool.0", 20 * kMiB, 0, false};
  const auto plan = plan_members({&member, 1});
  REQUIRE_FALSE(plan.has_value());
  CHECK(plan.error().kind == ErrorKind::kInvalid);
  CHECK(plan.error().message == "pool file /x/pool.0 of 20.0 MiB is too small: give it at least 21.0 MiB");
  CHECK(plan_one(21 * kMiB, false).max_slabs == 1);
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
