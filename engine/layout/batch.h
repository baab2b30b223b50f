// A batch of the journal ring: records sealed together, made durable together.
//
// Starts on a 4 KiB boundary; the header is followed directly by the payload and padded with zeroes to the
// next boundary, so a small commit is one block. A batch never wraps: when it does not fit before the ring's
// end it stands at the ring's start. Batches form a chain: each has the hash of its predecessor's header.
// `durable_sequence`: batches up to it (this one included, in the conservative order) are covered, with the
// data of their records, by a completed flush of every device they touch, and are trusted whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/uuid.h"
#include "coppice/result.h"
#include "coppice/types.h"

namespace coppice {

inline constexpr std::size_t kBatchHeaderBytes = 96;
inline constexpr std::size_t kMaxBatchPayloadBytes = std::size_t{4} << 20;

struct BatchHeader {
  Uuid store;
  std::uint64_t sequence = 0;       // 1, 2, 3 …
  std::uint64_t previous_hash = 0;  // header_hash() of batch sequence - 1
  std::uint64_t durable_sequence = 0;
  std::uint64_t first_position = 0;  // of its first record, in the stream of staged records
  std::uint64_t payload_bytes = 0;
  std::uint64_t payload_hash = 0;
  bool operator==(const BatchHeader&) const = default;
};

constexpr std::uint64_t batch_bytes(std::uint64_t payload_bytes) {
  return round_up(kBatchHeaderBytes + payload_bytes, kBlockBytes);
}
// Writes the header at the start of `batch` (its payload already stands behind it) and returns its hash, the
// next batch's previous_hash. Fills in payload_hash.
std::uint64_t seal_batch(BatchHeader header, std::span<std::byte> batch);

struct BatchView {
  BatchHeader header;
  std::uint64_t header_hash = 0;
  std::span<const std::byte> payload;
};
// Only the first block, to learn payload_bytes. kCorrupt: no valid header.
Result<BatchHeader> peek_batch(std::span<const std::byte, kBlockBytes> block);
Result<BatchView> open_batch(std::span<const std::byte> batch);

}  // namespace coppice
