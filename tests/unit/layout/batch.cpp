#include "layout/batch.h"

#include <catch2/catch.hpp>
#include <cstring>

#include "base/hash.h"
#include "samples.h"

using namespace coppice;
using namespace coppice::layout_test;

namespace {

std::span<const std::byte, kBlockBytes> first_block(const Bytes& batch) {
  return std::span<const std::byte, kBlockBytes>(batch.data(), kBlockBytes);
}

// Header hash as reseal() makes it, but over the header alone.
bool accepted_with(std::size_t offset, std::uint64_t value) {
  Bytes batch = sample_batch();
  std::memcpy(batch.data() + offset, &value, sizeof value);
  reseal(std::span(batch).first(kBatchHeaderBytes));
  return peek_batch(first_block(batch)).has_value();
}

}  // namespace

TEST_CASE("a batch opens with what was sealed, and chains by its header's hash") {
  Random random(15);
  std::uint64_t previous = 0;
  for (std::uint64_t sequence = 1; sequence < 200; ++sequence) {
    const std::size_t size = sequence == 1 ? 0 : below(random, sequence % 10 == 0 ? 200'000 : 9000);
    Bytes batch(batch_bytes(size));
    for (std::byte& byte : batch) byte = static_cast<std::byte>(random());
    BatchHeader header{.store = sample_uuid(1),
                       .sequence = sequence,
                       .previous_hash = previous,
                       .durable_sequence = sequence - sequence % 2,
                       .first_position = random(),
                       .payload_bytes = size};
    const std::uint64_t hash = seal_batch(header, batch);
    const auto opened = open_batch(batch);
    REQUIRE(opened);
    header.payload_hash = opened->header.payload_hash;
    REQUIRE(opened->header == header);
    REQUIRE(opened->header_hash == hash);
    REQUIRE(opened->payload.size() == size);
    REQUIRE(opened->payload.data() == batch.data() + kBatchHeaderBytes);
    REQUIRE(*peek_batch(first_block(batch)) == header);
    for (std::size_t i = kBatchHeaderBytes + size; i < batch.size(); ++i) REQUIRE(batch[i] == std::byte{0});
    previous = hash;
  }
}

TEST_CASE("a small commit is one block") {
  CHECK(batch_bytes(0) == 4096);
  CHECK(batch_bytes(4000) == 4096);
  CHECK(batch_bytes(4001) == 8192);
}

TEST_CASE("every flipped bit of header and payload is found") {
  const Bytes whole = sample_batch();
  const std::size_t used = kBatchHeaderBytes + open_batch(whole)->payload.size();
  for (std::size_t bit = 0; bit < used * 8; ++bit) {
    Bytes flipped = whole;
    flipped[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    REQUIRE_FALSE(open_batch(flipped));
    REQUIRE(peek_batch(first_block(flipped)).has_value() == (bit / 8 >= kBatchHeaderBytes));
  }
}

TEST_CASE("a batch cut short is refused, never read beyond") {
  const Bytes whole = sample_batch();
  const std::size_t used = kBatchHeaderBytes + open_batch(whole)->payload.size();
  for (std::size_t cut = 0; cut < used; ++cut)
    REQUIRE_FALSE(open_batch(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(cut))));
}

TEST_CASE("the payload of an earlier round does not fit a later header") {
  Bytes batch = sample_batch();
  const std::uint64_t later = 43;
  std::memcpy(batch.data() + 32, &later, sizeof later);
  reseal(std::span(batch).first(kBatchHeaderBytes));
  CHECK(peek_batch(first_block(batch)));
  CHECK_FALSE(open_batch(batch));
}

TEST_CASE("headers that make no sense are refused even with a right hash") {
  CHECK(accepted_with(48, 42));        // durable up to itself: the conservative order
  CHECK_FALSE(accepted_with(48, 43));  // durable beyond itself
  CHECK_FALSE(accepted_with(32, 0));   // no sequence
  CHECK(accepted_with(64, kMaxBatchPayloadBytes));
  CHECK_FALSE(accepted_with(64, kMaxBatchPayloadBytes + 1));
  CHECK_FALSE(accepted_with(64, ~std::uint64_t{0}));
  CHECK_FALSE(accepted_with(80, 1));  // what is zero
}

TEST_CASE("noise and zeroes are no batches") {
  Random random(16);
  Bytes block(kBlockBytes);
  CHECK_FALSE(peek_batch(first_block(block)));
  for (int i = 0; i < 2000; ++i) {
    for (std::byte& byte : block) byte = static_cast<std::byte>(random());
    if (i % 2 == 0) std::memcpy(block.data(), sample_batch().data(), 8);
    REQUIRE_FALSE(peek_batch(first_block(block)));
    REQUIRE_FALSE(open_batch(block));
  }
}
