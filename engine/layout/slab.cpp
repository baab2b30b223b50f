#include "layout/slab.h"

#include "layout/superblock.h"
#include "layout/wire_struct.h"

namespace coppice {

namespace {

constexpr std::uint64_t kSlabMagic = magic_of("coppslab");

struct WireSlabHeader {
  Uuid store;
  std::uint32_t member;
  std::uint32_t zero;
  std::uint64_t slab;
  std::uint64_t slab_blocks;
};
static_assert(WireStruct<WireSlabHeader> && sizeof(WireSlabHeader) == 40);
static_assert(offsetof(WireSlabHeader, member) == 16 && offsetof(WireSlabHeader, slab) == 24);

// The smallest slab still holds data, and the largest one's two granule bitmaps fit their page.
static_assert(SlabLayout{kMinSlabBlocks}.first_data_block() < kMinSlabBlocks / 64);
static_assert(2 * SlabLayout{kDefaultSlabBlocks}.granules() <= kPageContentBytes * 8);
// 0.21% of a slab is metadata; about 0.2% promised.
static_assert(SlabLayout{kDefaultSlabBlocks}.first_data_block() * 1000 < kDefaultSlabBlocks * 22 / 10);

}  // namespace

void encode_slab_header(const SlabHeader& header, std::span<std::byte, kBlockBytes> into) {
  const WireSlabHeader wire = {.store = header.store,
                               .member = header.member,
                               .zero = 0,
                               .slab = header.slab,
                               .slab_blocks = header.slab_blocks};
  seal_block(kSlabMagic, wire, into);
}

Result<SlabHeader> decode_slab_header(std::span<const std::byte, kBlockBytes> from) {
  if (check_seal(kSlabMagic, from) != Seal::kWhole)
    return fail(ErrorKind::kCorrupt, 0, "damaged or missing slab header");
  const auto wire = load_struct<WireSlabHeader>(from.subspan<sizeof(SealHead)>());
  if (wire.slab_blocks < kLeastSlabBlocks || wire.slab_blocks > kDefaultSlabBlocks ||
      wire.member >= kMaxMembers)
    return fail(ErrorKind::kCorrupt, 0, "slab header makes no sense");
  return SlabHeader{
      .store = wire.store, .member = wire.member, .slab = wire.slab, .slab_blocks = wire.slab_blocks};
}

}  // namespace coppice
