// What a lost map is made anew from: heads of segments, frames and the operations in them, as they stand in
// the pool and with their hashes made right.
#include "layout/meta_copy.h"

#include <algorithm>

#include "base/hash.h"
#include "fuzz.h"
#include "layout/meta_batch.h"
#include "layout/wire_struct.h"
#include "samples.h"

namespace coppice::fuzz {
namespace {

constexpr std::size_t kFrameHashAt = 8;
constexpr std::size_t kFrameHashedFrom = 16;
constexpr std::size_t kFirstRunAt = 16 + 48;  // behind the seal

// Where the head says that it stands, if it can stand there.
void check_segment(std::span<const std::byte, kBlockBytes> block) {
  std::uint64_t says = 0;
  std::memcpy(&says, block.data() + kFirstRunAt, sizeof says);
  const auto segment = decode_meta_segment(block, PhysicalBlock{says});
  demand(!decode_meta_segment(block, PhysicalBlock{says}.next()), "a head is taken at its own place only");
  if (!segment) return;
  demand(!segment->runs.empty() && segment->runs.size() <= kMaxSegmentRuns && segment->number != 0,
         "a segment that was taken has a number and space");
  for (const PhysicalRun& run : segment->runs)
    demand(run.count != 0 && is_data_run(run.first, run.count), "its runs are runs of blocks");
  Bytes again(kBlockBytes);
  encode_meta_segment(*segment, std::span<std::byte, kBlockBytes>(again));
  const auto second =
      decode_meta_segment(std::span<const std::byte, kBlockBytes>(again), PhysicalBlock{says});
  demand(second.has_value() && *second == *segment, "a head that was taken is taken again");
}

void check_batch(Input payload) {
  const auto batch = MetaBatch::decode(payload);
  if (!batch) return;
  MetaBatch again;
  for (const auto& operation : *batch) again.add(operation);
  demand(std::ranges::equal(again.encoded(), payload),
         "operations that were taken are what the encoder writes");
}

void check_frame(Input bytes, PhysicalBlock here) {
  const auto found = peek_meta_frame(bytes, here);
  if (!found) return;
  const MetaFrame& frame = found->frame;
  demand(!peek_meta_frame(bytes, here.next()), "a frame that was misdirected is found");
  demand(meta_frame_blocks(frame.payload_bytes) * kBlockBytes <= kMaxMetaFrameBytes, "a frame has its limit");
  const Input rest = bytes.subspan(kMetaFrameHeaderBytes);
  if (rest.size() < frame.payload_bytes) return;
  const Input payload = rest.first(frame.payload_bytes);
  if (!payload_fits(frame, payload)) return;
  check_batch(payload);
  Bytes again(bytes.begin(), bytes.end());
  demand(seal_meta_frame(frame, here, again) == found->hash, "a frame that was taken is sealed so again");
}

// Header and payload with the hashes that belong to them.
void reseal_frame(Bytes& bytes, PhysicalBlock here) {
  const std::span<std::byte> all(bytes);
  MetaFrame frame{.sequence = 1, .payload_bytes = 0};
  std::memcpy(&frame.sequence, all.data() + 24, sizeof frame.sequence);
  std::memcpy(&frame.payload_bytes, all.data() + 40, sizeof frame.payload_bytes);
  if (frame.payload_bytes > bytes.size() - kMetaFrameHeaderBytes) return;
  const auto payload = all.subspan(kMetaFrameHeaderBytes, frame.payload_bytes);
  const std::uint64_t payload_hash = hash64(payload, frame.sequence);
  std::memcpy(all.data() + 48, &payload_hash, sizeof payload_hash);
  const std::uint64_t hash =
      hash64(all.subspan(kFrameHashedFrom, kMetaFrameHeaderBytes - kFrameHashedFrom), here.value);
  std::memcpy(all.data() + kFrameHashAt, &hash, sizeof hash);
}

}  // namespace

void run_one(Input input) {
  const std::uint8_t kind = take_byte(input);
  const PhysicalBlock here = PhysicalBlock::of(1, 108);
  if (kind % 3 == 0) {
    Bytes block = in_block(input, kBlockBytes);
    check_segment(std::span<const std::byte, kBlockBytes>(block));
    layout_test::reseal(block);
    check_segment(std::span<const std::byte, kBlockBytes>(block));
  } else if (kind % 3 == 1) {
    Bytes bytes = in_block(input, 2 * kBlockBytes);
    check_frame(bytes, here);
    reseal_frame(bytes, here);
    check_frame(bytes, here);
  } else {
    check_batch(input);
  }
}

}  // namespace coppice::fuzz
