#include "layout/superblock.h"

#include <catch2/catch.hpp>
#include <cstring>

#include "layout/slab.h"
#include "samples.h"

using namespace coppice;
using namespace coppice::layout_test;

namespace {

Result<Superblock> decode(const Bytes& block) {
  return decode_superblock(std::span<const std::byte, kBlockBytes>(block.data(), kBlockBytes));
}

Bytes encode(const Superblock& superblock) {
  Bytes block(kBlockBytes, std::byte{0xee});
  encode_superblock(superblock, std::span<std::byte, kBlockBytes>(block.data(), kBlockBytes));
  return block;
}

bool accepted(auto change) {
  Superblock superblock = sample_superblock();
  change(superblock);
  return decode(encode(superblock)).has_value();
}

}  // namespace

TEST_CASE("a superblock comes back") {
  Superblock superblock = sample_superblock();
  CHECK(*decode(encode(superblock)) == superblock);
  superblock.clean = false;
  CHECK(*decode(encode(superblock)) == superblock);
  superblock.clean = true;
  superblock.grows = false;
  superblock.max_slabs = 5;
  CHECK(*decode(encode(superblock)) == superblock);
  superblock.member = 1;  // has no journal
  superblock.journal_offset_bytes = superblock.journal_bytes = 0;
  superblock.slabs_offset_bytes = kSuperblockAreaBytes;
  CHECK(*decode(encode(superblock)) == superblock);
}

TEST_CASE("no superblock, a damaged one and a newer one are told apart") {
  CHECK(decode(Bytes(kBlockBytes)).error().kind == ErrorKind::kInvalid);
  CHECK(decode(Bytes(kBlockBytes, std::byte{0xff})).error().kind == ErrorKind::kInvalid);
  const Bytes whole = encode(sample_superblock());
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    Bytes flipped = whole;
    flipped[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    const auto refused = decode(flipped);
    REQUIRE_FALSE(refused);
    REQUIRE(refused.error().kind == (bit < 64 ? ErrorKind::kInvalid : ErrorKind::kCorrupt));
  }
  Superblock newer = sample_superblock();
  newer.version = kFormatVersion + 1;
  CHECK(decode(encode(newer)).error().kind == ErrorKind::kUnsupported);
  Superblock feature = sample_superblock();
  feature.incompat = kIncompatBases;
  CHECK(decode(encode(feature)) == feature);
  feature.incompat |= std::uint64_t{1} << 62;
  CHECK(decode(encode(feature)).error().kind == ErrorKind::kUnsupported);
  Superblock checksum = sample_superblock();
  checksum.checksum = static_cast<ChecksumAlgorithm>(2);
  CHECK(decode(encode(checksum)).error().kind == ErrorKind::kUnsupported);
}

TEST_CASE("unknown features that an old engine may live with are kept for it to see") {
  Superblock superblock = sample_superblock();
  superblock.ro_compat = std::uint64_t{1} << 63;
  CHECK(*decode(encode(superblock)) == superblock);
}

TEST_CASE("geometry that no engine writes is refused") {
  CHECK(accepted([](Superblock&) {}));
  CHECK_FALSE(accepted([](Superblock& s) { s.version = 0; }));
  CHECK_FALSE(accepted([](Superblock& s) { s.member = s.member_count; }));
  CHECK_FALSE(accepted([](Superblock& s) { s.member_count = kMaxMembers + 1; }));
  CHECK_FALSE(accepted([](Superblock& s) { s.slabs_offset_bytes += 512; }));
  CHECK_FALSE(accepted([](Superblock& s) { s.slabs_offset_bytes = 0; }));
  CHECK_FALSE(accepted([](Superblock& s) { s.slabs_offset_bytes -= kBlockBytes; }));  // over the journal
  CHECK_FALSE(accepted([](Superblock& s) { s.journal_offset_bytes = 0; }));
  CHECK_FALSE(accepted([](Superblock& s) { s.journal_bytes = ~std::uint64_t{0} - 4095; }));
  CHECK_FALSE(accepted([](Superblock& s) { s.slab_blocks = 0; }));
  CHECK_FALSE(accepted([](Superblock& s) { s.slab_blocks = kLeastSlabBlocks - 1; }));
  CHECK_FALSE(accepted([](Superblock& s) { s.slab_blocks = kDefaultSlabBlocks + 1; }));
  CHECK_FALSE(accepted([](Superblock& s) { s.slab_count = std::uint64_t{1} << 22; }));  // 4 PiB a member
  CHECK_FALSE(accepted([](Superblock& s) { s.grows = false; }));                        // 3 slabs of 0
}
