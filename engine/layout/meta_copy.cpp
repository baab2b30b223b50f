#include "layout/meta_copy.h"

#include <algorithm>
#include <cassert>

#include "layout/wire_struct.h"

namespace coppice {

namespace {

constexpr std::uint64_t kSegmentMagic = magic_of("coppmseg");
constexpr std::uint64_t kFrameMagic = magic_of("coppmfrm");

struct WireRun {
  std::uint64_t first;
  std::uint64_t count;
};
struct WireSegment {
  Uuid store;
  std::uint64_t chain;
  std::uint64_t number;
  std::uint64_t previous;
  std::uint64_t run_count;
  WireRun runs[kMaxSegmentRuns];
};
static_assert(WireStruct<WireSegment> && sizeof(WireSegment) == 48 + 16 * kMaxSegmentRuns);
static_assert(offsetof(WireSegment, runs) == 48);

struct WireFrame {
  std::uint64_t magic;
  std::uint64_t hash;  // of the 48 bytes behind it, seed: the address
  std::uint64_t chain;
  std::uint64_t sequence;
  std::uint64_t previous_hash;
  std::uint32_t payload_bytes;
  std::uint32_t flags;
  std::uint64_t payload_hash;
  std::uint64_t applied;
};
static_assert(WireStruct<WireFrame> && sizeof(WireFrame) == kMetaFrameHeaderBytes);
static_assert(offsetof(WireFrame, payload_bytes) == 40 && offsetof(WireFrame, applied) == 56);

std::uint64_t hash_of(const WireFrame& wire, PhysicalBlock address) {
  return hash64(std::as_bytes(std::span(&wire, 1)).subspan(16), address.value);
}

}  // namespace

void encode_meta_segment(const MetaSegment& segment, std::span<std::byte, kBlockBytes> into) {
  assert(!segment.runs.empty() && segment.runs.size() <= kMaxSegmentRuns);
  WireSegment wire = {.store = segment.store,
                      .chain = segment.chain,
                      .number = segment.number,
                      .previous = segment.previous.value,
                      .run_count = segment.runs.size(),
                      .runs = {}};
  for (std::size_t i = 0; i < segment.runs.size(); ++i)
    wire.runs[i] = {segment.runs[i].first.value, segment.runs[i].count};
  seal_block(kSegmentMagic, wire, into);
}

Result<MetaSegment> decode_meta_segment(std::span<const std::byte, kBlockBytes> from, PhysicalBlock address) {
  if (check_seal(kSegmentMagic, from) != Seal::kWhole)
    return fail(ErrorKind::kCorrupt, 0, "a segment's head is damaged or missing");
  const auto wire = load_struct<WireSegment>(from.subspan<sizeof(SealHead)>());
  if (wire.number == 0 || wire.run_count == 0 || wire.run_count > kMaxSegmentRuns ||
      wire.runs[0].first != address.value)
    return fail(ErrorKind::kCorrupt, 0, "a segment's head makes no sense");
  MetaSegment segment{wire.store, wire.chain, wire.number, PhysicalBlock{wire.previous}, {}};
  for (std::uint64_t i = 0; i < wire.run_count; ++i) {
    const PhysicalRun run{PhysicalBlock{wire.runs[i].first}, wire.runs[i].count};
    if (!is_data_run(run.first, run.count))
      return fail(ErrorKind::kCorrupt, 0, "a segment's head makes no sense");
    segment.runs.push_back(run);
  }
  return segment;
}

std::uint64_t seal_meta_frame(MetaFrame frame, PhysicalBlock address, std::span<std::byte> bytes) {
  const std::size_t end = kMetaFrameHeaderBytes + frame.payload_bytes;
  assert(bytes.size() >= end);
  std::ranges::fill(bytes.subspan(end), std::byte{0});
  WireFrame wire = {
      .magic = kFrameMagic,
      .hash = 0,
      .chain = frame.chain,
      .sequence = frame.sequence,
      .previous_hash = frame.previous_hash,
      .payload_bytes = frame.payload_bytes,
      .flags = frame.flags,
      .payload_hash = hash64(bytes.subspan(kMetaFrameHeaderBytes, frame.payload_bytes), frame.sequence),
      .applied = frame.applied};
  wire.hash = hash_of(wire, address);
  store_struct(wire, bytes);
  return wire.hash;
}

std::optional<MetaFrameView> peek_meta_frame(std::span<const std::byte> block, PhysicalBlock address) {
  if (block.size() < kMetaFrameHeaderBytes) return std::nullopt;
  const auto wire = load_struct<WireFrame>(block);
  if (wire.magic != kFrameMagic || wire.hash != hash_of(wire, address)) return std::nullopt;
  if (wire.payload_bytes > kMaxMetaFrameBytes - kMetaFrameHeaderBytes || wire.sequence == 0)
    return std::nullopt;
  return MetaFrameView{{wire.chain, wire.sequence, wire.previous_hash, wire.payload_bytes, wire.flags,
                        wire.payload_hash, wire.applied},
                       wire.hash};
}

bool payload_fits(const MetaFrame& frame, std::span<const std::byte> payload) {
  return payload.size() == frame.payload_bytes && hash64(payload, frame.sequence) == frame.payload_hash;
}

}  // namespace coppice
