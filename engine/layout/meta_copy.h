// The copy of the metadata that the pool holds: where it stands, its segments, its frames.
//
// Two chains. The *base* is all that the MetaStore held at one moment; the *log* is every batch written to it
// since. A chain is a list of segments, found from the last one backwards: each begins with a head, a block
// that names its runs of blocks and the segment before it. Frames fill the segments one behind the other,
// each with the hash of its predecessor; a batch is one or more frames, the last of which says so. Numbers
// stand in FORMAT.md. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/uuid.h"
#include "coppice/result.h"
#include "coppice/types.h"
#include "layout/record.h"

namespace coppice {

// In member 0's superblock. The mark is the end of the log when it was last synced: what is behind it is
// looked for at the open.
struct MetaCopyPlace {
  PhysicalBlock base;              // head of its last segment; 0: no base yet, so no copy
  PhysicalBlock log;               // … of the log's; 0: there is nothing
  std::uint64_t log_first = 0;     // the log's segments below this number are in the base
  std::uint64_t log_sequence = 0;  // of the last frame in them
  struct Mark {
    std::uint64_t segment = 0;   // its number
    std::uint64_t block = 0;     // of the segment, where the next frame goes
    std::uint64_t sequence = 0;  // of the last frame
    std::uint64_t hash = 0;      // … and of its header
    std::uint64_t applied = 0;   // the last batch of the journal that a checkpoint up to there holds whole
    bool operator==(const Mark&) const = default;
  } mark;
  [[nodiscard]] bool whole() const { return base.value != 0 && log.value != 0; }
  bool operator==(const MetaCopyPlace&) const = default;
};

inline constexpr std::size_t kMaxSegmentRuns = 248;

struct MetaSegment {
  Uuid store;
  std::uint64_t chain = 0;        // a number that no other chain of the pool has
  std::uint64_t number = 0;       // 1, 2, 3 …
  PhysicalBlock previous;         // its head; 0 for the first
  std::vector<PhysicalRun> runs;  // at most kMaxSegmentRuns; the head is the first block of the first one
  bool operator==(const MetaSegment&) const = default;
};
void encode_meta_segment(const MetaSegment& segment, std::span<std::byte, kBlockBytes> into);
// kCorrupt: there is no such head, or it stands elsewhere than it says.
Result<MetaSegment> decode_meta_segment(std::span<const std::byte, kBlockBytes> from, PhysicalBlock address);

inline constexpr std::size_t kMetaFrameHeaderBytes = 64;
inline constexpr std::uint64_t kMaxMetaFrameBytes = std::uint64_t{128} << 10;  // with its header

struct MetaFrame {
  enum Flag : std::uint32_t {
    kEnd = 1,       // of a batch
    kSkip = 2,      // empty; the chain goes on in the next segment
    kComplete = 4,  // empty; the last of a base
  };
  std::uint64_t chain = 0;
  std::uint64_t sequence = 0;       // 1, 2, 3 …
  std::uint64_t previous_hash = 0;  // of the header before; 0 for the first
  std::uint32_t payload_bytes = 0;
  std::uint32_t flags = 0;
  std::uint64_t payload_hash = 0;
  std::uint64_t applied = 0;  // the batch moves the start of redo behind this one of the journal; else 0
  bool operator==(const MetaFrame&) const = default;
};
constexpr std::uint64_t meta_frame_blocks(std::uint64_t payload_bytes) {
  return (kMetaFrameHeaderBytes + payload_bytes + kBlockBytes - 1) / kBlockBytes;
}
// Writes the header in front of the payload, which stands already in `frame`, and returns its hash. Fills in
// payload_hash.
std::uint64_t seal_meta_frame(MetaFrame frame, PhysicalBlock address, std::span<std::byte> bytes);
struct MetaFrameView {
  MetaFrame frame;
  std::uint64_t hash = 0;
};
// The header alone, from its first block.
std::optional<MetaFrameView> peek_meta_frame(std::span<const std::byte> block, PhysicalBlock address);
bool payload_fits(const MetaFrame& frame, std::span<const std::byte> payload);

}  // namespace coppice
