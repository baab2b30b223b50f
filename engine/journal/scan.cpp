// What a journal ring holds beside the chain that replay follows: proof that batches are missing from it.
#include <algorithm>

#include "journal/journal.h"

namespace coppice {

namespace {

constexpr std::uint64_t kPieceBytes = std::uint64_t{1} << 20;

// Reads [from, to) of the ring in pieces and shows each block. Unreadable pieces hold nothing.
template <class Visit>
Task<void> for_each_block(JournalPlace place, std::uint64_t from, std::uint64_t to, Visit visit) {
  AlignedBuffer buffer(kPieceBytes);
  for (std::uint64_t offset = from; offset < to; offset += kPieceBytes) {
    const auto piece = buffer.first(std::min(kPieceBytes, to - offset));
    auto read = co_await read_blocks(*place.file, place.offset_bytes + offset, piece);
    if (!read) continue;
    for (std::uint64_t at = 0; at < piece.size(); at += kBlockBytes) {
      visit(offset + at, std::span<const std::byte, kBlockBytes>(piece.data() + at, kBlockBytes));
    }
  }
}

}  // namespace

Task<std::uint64_t> durable_beyond(JournalPlace place, Uuid store, JournalPoint end) {
  std::uint64_t durable = 0;
  const auto look = [&](std::uint64_t, std::span<const std::byte, kBlockBytes> block) {
    const auto header = peek_batch(block);
    if (!header || header->store != store || header->sequence <= end.sequence) return;
    // In the conservative order a batch speaks only for itself.
    if (header->durable_sequence < header->sequence) durable = std::max(durable, header->durable_sequence);
  };
  co_await for_each_block(place, 0, place.ring_bytes, look);
  co_return durable > end.sequence ? durable : 0;
}

Task<bool> ends_with_batch(JournalPlace place, Uuid store, JournalPoint point) {
  bool found = false;
  const auto look = [&](std::uint64_t offset, std::span<const std::byte, kBlockBytes> block) {
    const auto header = peek_batch(block);
    found |= header && header->store == store && header->sequence == point.sequence &&
             offset + batch_bytes(header->payload_bytes) == point.ring_offset;
  };
  if (point.ring_offset > place.ring_bytes) co_return false;
  const std::uint64_t longest = batch_bytes(kMaxBatchPayloadBytes);
  co_await for_each_block(place, point.ring_offset - std::min(point.ring_offset, longest), point.ring_offset,
                          look);
  co_return found;
}

}  // namespace coppice
