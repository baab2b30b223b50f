#include "layout/superblock.h"

#include "layout/slab.h"
#include "layout/wire_struct.h"

namespace coppice {

namespace {

constexpr std::uint64_t kSuperblockMagic = magic_of("coppice\n");
constexpr std::uint32_t kFlagClean = 1;
constexpr std::uint32_t kFlagGrows = 2;

// Behind the seal. Magic, hash and version keep their places in every later version, so that an old engine
// can say "newer" instead of "damaged".
struct WireSuperblock {
  Uuid store;
  Uuid metadata;
  std::uint32_t version;
  std::uint32_t checksum;
  std::uint64_t compat;
  std::uint64_t incompat;
  std::uint64_t ro_compat;
  std::uint64_t generation;
  std::uint64_t open_generation;
  std::uint32_t member;
  std::uint32_t member_count;
  std::uint32_t flags;
  std::uint32_t zero;
  std::uint64_t journal_offset_bytes;
  std::uint64_t journal_bytes;
  std::uint64_t slabs_offset_bytes;
  std::uint64_t slab_blocks;
  std::uint64_t slab_count;
  std::uint64_t max_slabs;
  std::uint64_t journal_tail_sequence;
  std::int64_t created_unix_ms;
  // The copy of the metadata; zeroes in stores from before there was one.
  std::uint64_t copy_base;
  std::uint64_t copy_log;
  std::uint64_t copy_log_first;
  std::uint64_t copy_log_sequence;
  std::uint64_t copy_mark_segment;
  std::uint64_t copy_mark_block;
  std::uint64_t copy_mark_sequence;
  std::uint64_t copy_mark_hash;
  std::uint64_t copy_mark_applied;
};
static_assert(WireStruct<WireSuperblock> && sizeof(WireSuperblock) == 232);
static_assert(offsetof(WireSuperblock, version) == 32 && offsetof(WireSuperblock, generation) == 64);
static_assert(offsetof(WireSuperblock, flags) == 88 && offsetof(WireSuperblock, journal_offset_bytes) == 96);
static_assert(offsetof(WireSuperblock, slab_blocks) == 120 &&
              offsetof(WireSuperblock, created_unix_ms) == 152 && offsetof(WireSuperblock, copy_base) == 160);

// A member's bytes are addressed by the block number in a PhysicalBlock.
constexpr std::uint64_t kMaxMemberBytes = kBlockBytes << PhysicalBlock::kMemberShift;

bool is_place(std::uint64_t offset_bytes) {
  return offset_bytes % kBlockBytes == 0 && offset_bytes >= kSuperblockAreaBytes &&
         offset_bytes <= kMaxMemberBytes;
}

// What no engine writes, though the hash is right: arithmetic on it must not overflow further up.
bool is_sane(const WireSuperblock& wire) {
  if (wire.member_count == 0 || wire.member_count > kMaxMembers || wire.member >= wire.member_count)
    return false;
  if (!is_place(wire.slabs_offset_bytes)) return false;
  if (wire.slab_blocks < kLeastSlabBlocks || wire.slab_blocks > kDefaultSlabBlocks) return false;
  const std::uint64_t fit = (kMaxMemberBytes - wire.slabs_offset_bytes) / (wire.slab_blocks * kBlockBytes);
  if (wire.slab_count > fit) return false;
  if (!(wire.flags & kFlagGrows) && (wire.max_slabs > fit || wire.slab_count > wire.max_slabs)) return false;
  if (wire.journal_bytes == 0) return true;
  return is_place(wire.journal_offset_bytes) && wire.journal_bytes % kBlockBytes == 0 &&
         wire.journal_bytes <= kMaxMemberBytes - wire.journal_offset_bytes &&
         wire.journal_offset_bytes + wire.journal_bytes <= wire.slabs_offset_bytes;
}

Superblock from_wire(const WireSuperblock& wire) {
  return {
      .store = wire.store,
      .metadata = wire.metadata,
      .version = wire.version,
      .compat = wire.compat,
      .incompat = wire.incompat,
      .ro_compat = wire.ro_compat,
      .generation = wire.generation,
      .open_generation = wire.open_generation,
      .member = wire.member,
      .member_count = wire.member_count,
      .checksum = static_cast<ChecksumAlgorithm>(wire.checksum),
      .clean = (wire.flags & kFlagClean) != 0,
      .grows = (wire.flags & kFlagGrows) != 0,
      .journal_offset_bytes = wire.journal_offset_bytes,
      .journal_bytes = wire.journal_bytes,
      .slabs_offset_bytes = wire.slabs_offset_bytes,
      .slab_blocks = wire.slab_blocks,
      .slab_count = wire.slab_count,
      .max_slabs = wire.max_slabs,
      .journal_tail_sequence = wire.journal_tail_sequence,
      .created_unix_ms = wire.created_unix_ms,
      .meta_copy = {.base = {wire.copy_base},
                    .log = {wire.copy_log},
                    .log_first = wire.copy_log_first,
                    .log_sequence = wire.copy_log_sequence,
                    .mark = {.segment = wire.copy_mark_segment,
                             .block = wire.copy_mark_block,
                             .sequence = wire.copy_mark_sequence,
                             .hash = wire.copy_mark_hash,
                             .applied = wire.copy_mark_applied}},
  };
}

}  // namespace

void encode_superblock(const Superblock& superblock, std::span<std::byte, kBlockBytes> into) {
  const WireSuperblock wire = {
      .store = superblock.store,
      .metadata = superblock.metadata,
      .version = superblock.version,
      .checksum = static_cast<std::uint32_t>(superblock.checksum),
      .compat = superblock.compat,
      .incompat = superblock.incompat,
      .ro_compat = superblock.ro_compat,
      .generation = superblock.generation,
      .open_generation = superblock.open_generation,
      .member = superblock.member,
      .member_count = superblock.member_count,
      .flags = (superblock.clean ? kFlagClean : 0) | (superblock.grows ? kFlagGrows : 0),
      .zero = 0,
      .journal_offset_bytes = superblock.journal_offset_bytes,
      .journal_bytes = superblock.journal_bytes,
      .slabs_offset_bytes = superblock.slabs_offset_bytes,
      .slab_blocks = superblock.slab_blocks,
      .slab_count = superblock.slab_count,
      .max_slabs = superblock.max_slabs,
      .journal_tail_sequence = superblock.journal_tail_sequence,
      .created_unix_ms = superblock.created_unix_ms,
      .copy_base = superblock.meta_copy.base.value,
      .copy_log = superblock.meta_copy.log.value,
      .copy_log_first = superblock.meta_copy.log_first,
      .copy_log_sequence = superblock.meta_copy.log_sequence,
      .copy_mark_segment = superblock.meta_copy.mark.segment,
      .copy_mark_block = superblock.meta_copy.mark.block,
      .copy_mark_sequence = superblock.meta_copy.mark.sequence,
      .copy_mark_hash = superblock.meta_copy.mark.hash,
      .copy_mark_applied = superblock.meta_copy.mark.applied,
  };
  seal_block(kSuperblockMagic, wire, into);
}

Result<Superblock> decode_superblock(std::span<const std::byte, kBlockBytes> from) {
  switch (check_seal(kSuperblockMagic, from)) {
    case Seal::kForeign:
      return fail(ErrorKind::kInvalid, 0, "no coppice superblock here");
    case Seal::kDamaged:
      return fail(ErrorKind::kCorrupt, 0, "damaged superblock");
    case Seal::kWhole:
      break;
  }
  const auto wire = load_struct<WireSuperblock>(from.subspan<sizeof(SealHead)>());
  if (wire.version > kFormatVersion)
    return fail(ErrorKind::kUnsupported, 0, "written by a newer coppice: its format is not known here");
  if (wire.incompat & ~kKnownIncompat)
    return fail(ErrorKind::kUnsupported, 0, "uses a feature that this coppice does not know");
  if (wire.checksum != static_cast<std::uint32_t>(ChecksumAlgorithm::kXxh3Low32))
    return fail(ErrorKind::kUnsupported, 0, "uses a checksum that this coppice does not know");
  if (wire.version == 0 || !is_sane(wire)) return fail(ErrorKind::kCorrupt, 0, "superblock makes no sense");
  return from_wire(wire);
}

}  // namespace coppice
