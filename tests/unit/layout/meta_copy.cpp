#include "layout/meta_copy.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>

#include "layout/meta_batch.h"
#include "samples.h"

using namespace coppice;
using namespace coppice::layout_test;

TEST_CASE("a segment's head is known by its place and its store") {
  Bytes block(kBlockBytes);
  const std::span<std::byte, kBlockBytes> bytes(block.data(), kBlockBytes);
  MetaSegment segment = sample_meta_segment();
  encode_meta_segment(segment, bytes);
  CHECK(decode_meta_segment(bytes, segment.runs[0].first) == segment);
  CHECK_FALSE(decode_meta_segment(bytes, segment.runs[0].first.next()));

  segment.runs.assign(kMaxSegmentRuns, segment.runs[0]);
  encode_meta_segment(segment, bytes);
  CHECK(decode_meta_segment(bytes, segment.runs[0].first) == segment);
}

TEST_CASE("no damaged head is taken for another one") {
  Random random(20);
  Bytes block(kBlockBytes);
  const MetaSegment segment = sample_meta_segment();
  encode_meta_segment(segment, std::span<std::byte, kBlockBytes>(block.data(), kBlockBytes));
  for (int i = 0; i < 3000; ++i) {
    Bytes bytes = damaged(block, random);
    const bool same = bytes.size() >= kBlockBytes && std::equal(block.begin(), block.end(), bytes.begin());
    bytes.resize(kBlockBytes);
    const std::span<const std::byte, kBlockBytes> whole(bytes.data(), kBlockBytes);
    CHECK(decode_meta_segment(whole, segment.runs[0].first).has_value() == (same || bytes == block));
    // With a right hash over it, whatever it says stays within what a run can be.
    reseal(std::span(bytes));
    const auto found = decode_meta_segment(whole, segment.runs[0].first);
    if (found) CHECK(found->runs.size() <= kMaxSegmentRuns);
  }
}

TEST_CASE("a frame is known by its place, and its payload by its sequence") {
  Bytes bytes = sample_meta_frame();
  const PhysicalBlock address = PhysicalBlock::of(1, 108);
  const auto found = peek_meta_frame(bytes, address);
  REQUIRE(found);
  CHECK(found->frame.sequence == 81);
  CHECK(found->frame.applied == 42);
  CHECK_FALSE(peek_meta_frame(bytes, address.next()));
  const auto payload =
      std::span<const std::byte>(bytes).subspan(kMetaFrameHeaderBytes, found->frame.payload_bytes);
  CHECK(payload_fits(found->frame, payload));
  MetaFrame other = found->frame;
  ++other.sequence;
  CHECK_FALSE(payload_fits(other, payload));
  const auto batch = MetaBatch::decode(payload);
  REQUIRE(batch);
  auto operation = batch->begin();
  CHECK((*operation).key == "disk/0000000000000001");
  CHECK((*++operation).kind == MetaBatch::Kind::kErase);
  CHECK(++operation == batch->end());

  bytes[kMetaFrameHeaderBytes + 3] ^= std::byte{1};
  CHECK_FALSE(payload_fits(found->frame, payload));
  bytes[20] ^= std::byte{1};
  CHECK_FALSE(peek_meta_frame(bytes, address));
}

TEST_CASE("operations are taken only as they are written") {
  Random random(21);
  for (int i = 0; i < 2000; ++i) {
    MetaBatch batch;
    const std::uint64_t count = below(random, 4);
    for (std::uint64_t k = 0; k < count; ++k) {
      const std::string key = random_text(random, 40);
      const std::string value = random_text(random, 600);
      batch.add({static_cast<MetaBatch::Kind>(below(random, 4)), static_cast<Family>(below(random, 3)), key,
                 value});
    }
    const Bytes bytes(batch.encoded().begin(), batch.encoded().end());
    const auto whole = MetaBatch::decode(bytes);
    REQUIRE(whole);
    std::uint64_t found = 0;
    for ([[maybe_unused]] const auto& operation : *whole) ++found;
    CHECK(found == count);
    const Bytes harmed = damaged(bytes, random);
    const auto taken = MetaBatch::decode(harmed);
    if (!taken) continue;
    MetaBatch again;
    for (const auto& operation : *taken) again.add(operation);
    CHECK(std::ranges::equal(again.encoded(), harmed));
  }
}
