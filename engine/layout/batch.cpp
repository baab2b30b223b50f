#include "layout/batch.h"

#include <algorithm>
#include <cassert>

#include "layout/wire_struct.h"

namespace coppice {

namespace {

constexpr std::uint64_t kBatchMagic = magic_of("coppbtch");

struct WireBatchHeader {
  SealHead seal;  // its hash: of the 80 bytes behind it
  Uuid store;
  std::uint64_t sequence;
  std::uint64_t previous_hash;
  std::uint64_t durable_sequence;
  std::uint64_t first_position;
  std::uint64_t payload_bytes;
  std::uint64_t payload_hash;
  std::uint64_t zero[2];
};
static_assert(WireStruct<WireBatchHeader> && sizeof(WireBatchHeader) == kBatchHeaderBytes);
static_assert(offsetof(WireBatchHeader, sequence) == 32 && offsetof(WireBatchHeader, payload_hash) == 72);

std::uint64_t hash_of(const WireBatchHeader& wire) {
  return hash64(std::as_bytes(std::span(&wire, 1)).subspan<sizeof(SealHead)>(), kBatchMagic);
}

// Bound to the sequence: a stale payload of an earlier round through the ring never fits a new header.
std::uint64_t hash_of_payload(std::span<const std::byte> payload, std::uint64_t sequence) {
  return hash64(payload, sequence);
}

Result<WireBatchHeader> check_header(std::span<const std::byte> batch) {
  if (batch.size() < kBatchHeaderBytes) return fail(ErrorKind::kCorrupt, 0, "journal batch cut short");
  const auto wire = load_struct<WireBatchHeader>(batch);
  if (wire.seal.magic != kBatchMagic || wire.seal.hash != hash_of(wire))
    return fail(ErrorKind::kCorrupt, 0, "no journal batch here");
  if (wire.sequence == 0 || wire.durable_sequence > wire.sequence ||
      wire.payload_bytes > kMaxBatchPayloadBytes || wire.zero[0] != 0 || wire.zero[1] != 0)
    return fail(ErrorKind::kCorrupt, 0, "journal batch makes no sense");
  return wire;
}

BatchHeader from_wire(const WireBatchHeader& wire) {
  return {.store = wire.store,
          .sequence = wire.sequence,
          .previous_hash = wire.previous_hash,
          .durable_sequence = wire.durable_sequence,
          .first_position = wire.first_position,
          .payload_bytes = wire.payload_bytes,
          .payload_hash = wire.payload_hash};
}

}  // namespace

std::uint64_t seal_batch(BatchHeader header, std::span<std::byte> batch) {
  const std::size_t end = kBatchHeaderBytes + header.payload_bytes;
  assert(header.payload_bytes <= kMaxBatchPayloadBytes && batch.size() >= end);
  const auto padding =
      batch.first(std::min<std::size_t>(batch.size(), batch_bytes(header.payload_bytes))).subspan(end);
  std::ranges::fill(padding, std::byte{0});
  const auto payload = batch.subspan(kBatchHeaderBytes, header.payload_bytes);
  WireBatchHeader wire = {.seal = {kBatchMagic, 0},
                          .store = header.store,
                          .sequence = header.sequence,
                          .previous_hash = header.previous_hash,
                          .durable_sequence = header.durable_sequence,
                          .first_position = header.first_position,
                          .payload_bytes = header.payload_bytes,
                          .payload_hash = hash_of_payload(payload, header.sequence),
                          .zero = {}};
  wire.seal.hash = hash_of(wire);
  store_struct(wire, batch);
  return wire.seal.hash;
}

Result<BatchHeader> peek_batch(std::span<const std::byte, kBlockBytes> block) {
  const auto wire = check_header(block);
  if (!wire) return std::unexpected(wire.error());
  return from_wire(*wire);
}

Result<BatchView> open_batch(std::span<const std::byte> batch) {
  const auto wire = check_header(batch);
  if (!wire) return std::unexpected(wire.error());
  if (wire->payload_bytes > batch.size() - kBatchHeaderBytes)
    return fail(ErrorKind::kCorrupt, 0, "journal batch cut short");
  const auto payload = batch.subspan(kBatchHeaderBytes, wire->payload_bytes);
  if (wire->payload_hash != hash_of_payload(payload, wire->sequence))
    return fail(ErrorKind::kCorrupt, 0, "damaged journal batch");
  return BatchView{.header = from_wire(*wire), .header_hash = wire->seal.hash, .payload = payload};
}

}  // namespace coppice
