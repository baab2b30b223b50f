// The superblock of a pool member: what the member is, and where everything in it stands.
//
// Kept in four places (kSuperblockOffsets), each state in two of them in turn; the valid one with the highest
// generation wins, so a torn write costs nothing but itself. 4096 bytes, little-endian, hashed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/uuid.h"
#include "coppice/result.h"
#include "coppice/types.h"
#include "layout/meta_copy.h"

namespace coppice {

inline constexpr std::uint32_t kFormatVersion = 1;
inline constexpr std::array<std::uint64_t, 4> kSuperblockOffsets = {0, 1u << 20, 2u << 20, 3u << 20};
// Superblocks live below; the journal (member 0) or the first slab (others) starts here.
inline constexpr std::uint64_t kSuperblockAreaBytes = 4u << 20;
inline constexpr std::uint32_t kMaxMembers = 256;
// Feature bits known to this version. An unknown incompat bit: refuse; ro_compat: open read-only.
// A disk stands, or once stood, on a base: who does not know bases would read zeroes in its place.
inline constexpr std::uint64_t kIncompatBases = 1;
// … or on one that is not raw.
inline constexpr std::uint64_t kIncompatImageBases = 2;
inline constexpr std::uint64_t kKnownIncompat = kIncompatBases | kIncompatImageBases;
// The pool holds a copy of the metadata: who does not know it would write over it.
inline constexpr std::uint64_t kRoCompatMetaCopy = 1;
inline constexpr std::uint64_t kKnownRoCompat = kRoCompatMetaCopy;

enum class ChecksumAlgorithm : std::uint32_t { kXxh3Low32 = 1 };

struct Superblock {
  Uuid store;     // shared by all members and the store's directory
  Uuid metadata;  // of the RocksDB that this pool belongs with
  std::uint32_t version = kFormatVersion;
  std::uint64_t compat = 0;
  std::uint64_t incompat = 0;
  std::uint64_t ro_compat = 0;
  std::uint64_t generation = 0;       // of this superblock; counts every write of it
  std::uint64_t open_generation = 0;  // counts opens of the store; stamps the staging file
  std::uint32_t member = 0;           // index of this file among the pool's members
  std::uint32_t member_count = 1;
  ChecksumAlgorithm checksum = ChecksumAlgorithm::kXxh3Low32;
  bool clean = false;                      // closed in order: no journal to replay
  bool grows = false;                      // a file that the store may extend by slabs
  std::uint64_t journal_offset_bytes = 0;  // member 0 only
  std::uint64_t journal_bytes = 0;
  std::uint64_t slabs_offset_bytes = 0;
  std::uint64_t slab_blocks = 0;            // size of a slab, its metadata included
  std::uint64_t slab_count = 0;             // slabs that are durable and may be named by records
  std::uint64_t max_slabs = 0;              // for members that don't grow: how many fit
  std::uint64_t journal_tail_sequence = 0;  // batches below have been overwritten or may be
  std::int64_t created_unix_ms = 0;
  MetaCopyPlace meta_copy;  // member 0 only
  bool operator==(const Superblock&) const = default;
};

void encode_superblock(const Superblock& superblock, std::span<std::byte, kBlockBytes> into);
// kInvalid: no superblock here (bad magic). kCorrupt: damaged. kUnsupported: newer version or an unknown
// incompat bit.
Result<Superblock> decode_superblock(std::span<const std::byte, kBlockBytes> from);

}  // namespace coppice
