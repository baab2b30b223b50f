// Journal records. The same bytes stand in the staging file and, later, in a batch of the journal.
//
//   length u32 (whole record, multiple of 8) | type u16 | flags u16 (0) | position u64 | body | padding |
//   xxh3 u64 of everything before it, seeded with the *stamp* of the run that staged it
//
// `position` is the byte offset of the record in the endless stream of all records ever staged; it orders
// records and never repeats. Records are absolute ("this block stands there now"), so redo needs no
// comparison: applying them all in order, from any start at or before a checkpoint's, gives the same state.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "coppice/result.h"
#include "coppice/types.h"

namespace coppice {

inline constexpr std::size_t kRecordHeaderBytes = 16;
inline constexpr std::size_t kRecordTrailerBytes = 8;

enum class RecordType : std::uint16_t {
  kPadding = 0,  // fills the staging ring up to its end; not written to the journal
  kMap = 1,
  kChecksum = 2,
  kMeta = 3,
  kReclaim = 4,
  kZero = 5,  // a map record of zeroes over holes, where a base shows through them
};

struct PhysicalRun {
  PhysicalBlock first;
  std::uint64_t count = 0;
  bool operator==(const PhysicalRun&) const = default;
};

// Blocks `mask` of a version become holes; all bits: the version is deleted.
struct ReclaimedVersion {
  BranchId branch;
  LeafIndex leaf;
  Epoch version;
  std::uint64_t mask = 0;
  bool operator==(const ReclaimedVersion&) const = default;
};

// Blocks [first, first + count) of the branch stand at [physical, +count) from `epoch` on, or are zeroes when
// `physical` is 0. Carries the allocation (data: the run becomes allocated), the checksums of the new content
// and what it frees. Data records have count checksums, zero records none. Zero records leave holes as they
// are, unless they stand over a base: the record says so, since the base may be gone when it is redone.
struct MapRecord {
  BranchId branch;
  Epoch epoch;
  BlockIndex first;
  std::uint64_t count = 0;
  PhysicalBlock physical;
  std::vector<std::uint32_t> checksums;
  std::vector<PhysicalRun> freed;
  // Versions that no node sees any more now that this epoch has one of its own: deleted with it.
  std::vector<ReclaimedVersion> superseded{};
  bool over_base = false;  // zeroes only
  bool operator==(const MapRecord&) const = default;
};

// Blocks overwritten in place now hold this.
struct ChecksumRecord {
  PhysicalBlock first;
  std::vector<std::uint32_t> checksums;
  // Of the epoch that wrote them, the low 32 bits: a snapshot that closes it does not stand without them. 0:
  // nobody's write, the checksums say what was found there.
  std::uint32_t epoch_tag = 0;
  bool operator==(const ChecksumRecord&) const = default;
};

constexpr std::uint32_t epoch_tag(Epoch epoch) {
  return static_cast<std::uint32_t>(epoch.value);
}

// An atomic edit of the tree: absolute values of keys of the `meta` column family.
struct MetaEdit {
  std::string key;
  std::string value;
  bool erase = false;
  bool operator==(const MetaEdit&) const = default;
};
struct MetaRecord {
  std::vector<MetaEdit> edits;
  bool operator==(const MetaRecord&) const = default;
};

// A step of giving back a deleted node's space: blocks `mask` of these versions become holes (all bits: the
// version is deleted), `freed` become free, and `edits` move the reclaimer's cursor, all in one.
struct ReclaimRecord {
  std::vector<ReclaimedVersion> versions;
  std::vector<PhysicalRun> freed;
  std::vector<MetaEdit> edits;
  bool operator==(const ReclaimRecord&) const = default;
};

using Record = std::variant<MapRecord, ChecksumRecord, MetaRecord, ReclaimRecord>;

// Appends the encoded record. Upper bounds for reserving room before encoding are exact: encoded_bytes().
std::size_t encoded_bytes(const Record& record);
void encode_record(const Record& record, std::uint64_t position, std::uint64_t stamp,
                   std::vector<std::byte>& into);
// A padding record of exactly `bytes` (multiple of 8, at least header + trailer).
void encode_padding(std::size_t bytes, std::uint64_t position, std::uint64_t stamp,
                    std::vector<std::byte>& into);

struct RecordView {
  RecordType type = RecordType::kPadding;
  std::uint64_t position = 0;
  std::size_t length = 0;           // whole record
  std::span<const std::byte> body;  // incl. padding
};
// Looks at the record at the start of `from` without decoding its body. kCorrupt unless the length is sane
// and fits. With `stamp` also the trailing hash is verified (staging file); batches have a hash of their own.
Result<RecordView> peek_record(std::span<const std::byte> from);
Result<RecordView> verify_record(std::span<const std::byte> from, std::uint64_t stamp);
Result<Record> decode_record(const RecordView& view);  // not for padding

}  // namespace coppice
