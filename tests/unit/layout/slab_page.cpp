#include <catch2/catch.hpp>
#include <cstring>
#include <set>

#include "layout/page.h"
#include "layout/slab.h"
#include "samples.h"

using namespace coppice;
using namespace coppice::layout_test;

namespace {

std::optional<std::uint64_t> verify(const Bytes& page, PhysicalBlock address) {
  return verify_page(ConstPageBytes(page.data(), kBlockBytes), address);
}

}  // namespace

TEST_CASE("a page holds in its own place only") {
  Random random(17);
  const PhysicalBlock address = PhysicalBlock::of(1, 5);
  Bytes page(kBlockBytes);
  for (std::byte& byte : page) byte = static_cast<std::byte>(random());
  seal_page(PageBytes(page.data(), kBlockBytes), 9, address);
  CHECK(verify(page, address) == 9);
  CHECK_FALSE(verify(page, address.next()));
  CHECK_FALSE(verify(page, PhysicalBlock::of(0, 5)));
  for (std::size_t bit = 0; bit < kBlockBytes * 8; ++bit) {
    page[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    REQUIRE_FALSE(verify(page, address));
    page[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
  }
  CHECK(verify(page, address) == 9);
}

TEST_CASE("any mix of sectors of two seals is found, as a torn write leaves it") {
  Random random(18);
  const PhysicalBlock address = PhysicalBlock::of(0, 1000);
  Bytes older(kBlockBytes);
  Bytes newer(kBlockBytes);
  for (std::byte& byte : older) byte = static_cast<std::byte>(random());
  for (std::byte& byte : newer) byte = static_cast<std::byte>(random());
  seal_page(PageBytes(older.data(), kBlockBytes), 1, address);
  seal_page(PageBytes(newer.data(), kBlockBytes), 2, address);
  for (unsigned sectors = 1; sectors < 255; ++sectors) {
    Bytes torn = older;
    for (unsigned i = 0; i < 8; ++i)
      if (sectors >> i & 1) std::memcpy(torn.data() + i * 512, newer.data() + i * 512, 512);
    REQUIRE_FALSE(verify(torn, address));
  }
}

TEST_CASE("a page that was never written is valid at sequence 0; a single bit in it is not") {
  Bytes page(kBlockBytes);
  CHECK(verify(page, {1}) == 0);
  for (const std::size_t at : {0u, 8u, 16u, 4095u}) {
    page[at] = std::byte{1};
    CHECK_FALSE(verify(page, {1}));
    page[at] = std::byte{0};
  }
}

TEST_CASE("the parts of a slab don't overlap, whatever its size") {
  for (const std::uint64_t blocks : {kMinSlabBlocks, kMinSlabBlocks * 3 + 1, kDefaultSlabBlocks}) {
    const SlabLayout layout{blocks};
    std::set<std::uint64_t> taken = {0};
    const auto take = [&](std::uint64_t page) {
      CHECK(taken.insert(page).second);
      CHECK(taken.insert(page + 1).second);
    };
    take(layout.granule_page());
    for (std::uint64_t page = 0; page < layout.bitmap_pages(); ++page) take(layout.bitmap_page(page));
    for (std::uint64_t page = 0; page < layout.checksum_pages(); ++page) take(layout.checksum_page(page));
    CHECK(*taken.rbegin() + 1 == layout.first_data_block());
    CHECK(taken.size() == layout.first_data_block());
    CHECK(layout.bitmap_pages() * kBitmapBlocksPerPage >= blocks);
    CHECK(layout.checksum_pages() * kChecksumsPerPage >= blocks);
    CHECK(layout.granules() * kGranuleBlocks >= blocks);
    CHECK(layout.data_blocks() + layout.first_data_block() == blocks);
  }
}

TEST_CASE("a slab header comes back; every flipped bit and nonsense is refused") {
  const SlabHeader header = sample_slab_header();
  Bytes block(kBlockBytes, std::byte{0xee});
  const std::span<std::byte, kBlockBytes> room(block.data(), kBlockBytes);
  encode_slab_header(header, room);
  CHECK(*decode_slab_header(room) == header);
  for (std::size_t bit = 0; bit < kBlockBytes * 8; ++bit) {
    block[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    REQUIRE_FALSE(decode_slab_header(room));
    block[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
  }
  for (const std::uint64_t blocks : {std::uint64_t{0}, kLeastSlabBlocks - 1, kDefaultSlabBlocks + 1}) {
    SlabHeader wrong = header;
    wrong.slab_blocks = blocks;
    encode_slab_header(wrong, room);
    CHECK_FALSE(decode_slab_header(room));
  }
}
