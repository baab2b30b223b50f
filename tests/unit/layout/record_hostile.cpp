// Records as an attacker, or a disk gone bad, would write them.
#include <catch2/catch.hpp>
#include <cstring>

#include "samples.h"

using namespace coppice;
using namespace coppice::layout_test;

namespace {

// Bytes of a body, put at the end of their own allocation.
Result<Record> decode_body_bytes(RecordType type, const Bytes& body) {
  return decode_record({.type = type, .position = 64, .length = body.size() + 24, .body = body});
}

Bytes body_of(const Record& record) {
  const Bytes bytes = encoded(record);
  return {bytes.begin() + kRecordHeaderBytes, bytes.end() - kRecordTrailerBytes};
}

RecordType type_of(const Record& record) {
  return peek_record(encoded(record))->type;
}

template <class T>
void put_at(Bytes& bytes, std::size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

// A body with one field changed is refused.
template <class T>
bool refused(const Record& record, std::size_t offset, T value) {
  Bytes body = body_of(record);
  put_at(body, offset, value);
  return !decode_body_bytes(type_of(record), body);
}

}  // namespace

TEST_CASE("every flipped bit and every cut of a staged record is found") {
  for (const Record& record : {Record(sample_map()), Record(sample_checksum()), Record(sample_meta()),
                               Record(sample_reclaim()), Record(sample_zero_over_base())}) {
    const Bytes whole = encoded(record);
    for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
      Bytes flipped = whole;
      flipped[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
      REQUIRE_FALSE(verify_record(flipped, kStamp));
    }
    for (std::size_t cut = 0; cut < whole.size(); ++cut) {
      const Bytes part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(cut));
      REQUIRE_FALSE(verify_record(part, kStamp));
      REQUIRE_FALSE(peek_record(part));
    }
  }
}

TEST_CASE("zeroes over a base are a kind of their own, and data is never that") {
  const Record over = sample_zero_over_base();
  const auto back = decode_body_bytes(type_of(over), body_of(over));
  REQUIRE(back);
  CHECK(*back == over);
  const auto plain = decode_body_bytes(RecordType::kMap, body_of(over));
  REQUIRE(plain);
  CHECK_FALSE(*plain == over);
  CHECK_FALSE(decode_body_bytes(RecordType::kZero, body_of(sample_map())));
}

TEST_CASE("hostile bodies: what decodes is exactly what the encoder writes") {
  Random random(13);
  std::size_t taken = 0;
  for (int i = 0; i < 60'000; ++i) {
    const Record record = random_record(random);
    const Bytes hostile = damaged(body_of(record), random);
    const auto decoded = decode_body_bytes(type_of(record), hostile);
    if (!decoded || hostile.size() % 8 != 0) continue;  // the frame only carries multiples of 8
    ++taken;
    REQUIRE(body_of(*decoded) == hostile);
  }
  CHECK(taken > 1000);
}

TEST_CASE("bodies of noise, under every type") {
  Random random(14);
  for (int i = 0; i < 60'000; ++i) {
    Bytes noise(below(random, 12) * 8);
    for (std::byte& byte : noise) byte = static_cast<std::byte>(random() % 3 == 0 ? random() : 0);
    const auto type = static_cast<RecordType>(below(random, 6));
    const auto decoded = decode_body_bytes(type, noise);
    if (decoded) REQUIRE(body_of(*decoded) == noise);
  }
}

TEST_CASE("a count beyond what the body holds is refused before anything is allocated for it") {
  const std::uint32_t many = UINT32_MAX;
  CHECK(refused(sample_map(), 24, std::uint64_t{1} << 40));  // count, and so checksums
  CHECK(refused(sample_map(), 40, many));                    // freed
  CHECK(refused(sample_checksum(), 8, many));
  CHECK(refused(sample_meta(), 0, many));
  CHECK(refused(sample_reclaim(), 0, many));
  CHECK(refused(sample_reclaim(), 4, many));
}

TEST_CASE("places outside a disk or a pool are refused") {
  const std::uint64_t disk_end = kMaxDiskBytes / kBlockBytes;
  CHECK(refused(sample_map(), 24, std::uint64_t{0}));  // no block at all
  CHECK(refused(sample_map(), 16, disk_end - 2));      // three blocks from there
  CHECK_FALSE(refused(sample_map(), 16, disk_end - 3));
  CHECK(refused(sample_zero_map(), 24, ~std::uint64_t{0}));             // first + count overflows
  CHECK(refused(sample_map(), 8, std::uint64_t{1} << 60));              // no epoch gets there
  CHECK(refused(sample_map(), 32, PhysicalBlock::of(1, 0).value));      // a superblock
  CHECK(refused(sample_map(), 32, PhysicalBlock::of(1, 0).value - 1));  // across two members
  CHECK(refused(sample_map(), 48, std::uint64_t{0}));                   // freed: the superblock
  CHECK(refused(sample_map(), 56, std::uint64_t{0}));                   // freed: nothing
  CHECK(refused(sample_map(), 56, ~std::uint64_t{0}));
  CHECK(refused(sample_checksum(), 0, std::uint64_t{0}));
  CHECK(refused(sample_map(), 44, std::uint32_t{1}));
}

TEST_CASE("frames that make no sense are refused") {
  const auto with = [](std::size_t offset, auto value) {
    Bytes bytes = encoded(sample_checksum());
    put_at(bytes, offset, value);
    return peek_record(bytes).has_value();
  };
  const auto length = static_cast<std::uint32_t>(encoded(sample_checksum()).size());
  CHECK(with(0, length));
  CHECK_FALSE(with(0, length + 8));
  CHECK_FALSE(with(0, length - 1));
  CHECK_FALSE(with(0, std::uint32_t{16}));
  CHECK_FALSE(with(0, std::uint32_t{0}));
  CHECK_FALSE(with(0, UINT32_MAX - 7));
  CHECK_FALSE(with(6, std::uint16_t{1}));  // flags
  Bytes unknown = encoded(sample_checksum());
  put_at(unknown, 4, std::uint16_t{5});
  CHECK_FALSE(decode_record(*peek_record(unknown)));
}
