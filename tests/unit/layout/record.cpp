#include "layout/record.h"

#include <catch2/catch.hpp>

#include "samples.h"

using namespace coppice;
using namespace coppice::layout_test;

TEST_CASE("records come back, back to back in one stream") {
  Random random(12);
  Bytes stream;
  std::vector<Record> records;
  const std::uint64_t base = 4096;
  for (int i = 0; i < 5000; ++i) {
    records.push_back(random_record(random));
    const std::size_t before = stream.size();
    encode_record(records.back(), base + before, kStamp, stream);
    REQUIRE(stream.size() - before == encoded_bytes(records.back()));
    REQUIRE(stream.size() % 8 == 0);
  }
  std::span<const std::byte> rest = stream;
  for (const Record& record : records) {
    const std::uint64_t position = base + (stream.size() - rest.size());
    const auto view = verify_record(rest, kStamp);
    REQUIRE(view);
    REQUIRE(view->position == position);
    const auto back = decode_record(*view);
    REQUIRE(back);
    REQUIRE(*back == record);
    const auto peeked = peek_record(rest);
    REQUIRE(peeked);
    REQUIRE(peeked->length == view->length);
    rest = rest.subspan(view->length);
  }
  CHECK(rest.empty());
}

TEST_CASE("a record of another run of the store is none") {
  const Bytes bytes = encoded(sample_map());
  CHECK(verify_record(bytes, kStamp));
  CHECK_FALSE(verify_record(bytes, kStamp + 1));
}

TEST_CASE("padding fills exactly what it is told to, and has no body to decode") {
  for (const std::size_t size : {24u, 32u, 4096u}) {
    Bytes bytes;
    encode_padding(size, 8, kStamp, bytes);
    REQUIRE(bytes.size() == size);
    const auto view = verify_record(bytes, kStamp);
    REQUIRE(view);
    CHECK(view->type == RecordType::kPadding);
    CHECK(view->length == size);
    CHECK_FALSE(decode_record(*view));
  }
}

TEST_CASE("a 4 KiB write's records stay small") {
  MapRecord map = sample_map();
  map.count = 1;
  map.checksums.resize(1);
  map.freed.resize(1);
  CHECK(encoded_bytes(map) == 96);
  CHECK(encoded_bytes(ChecksumRecord{{7}, {1}}) == 48);
  CHECK(encoded_bytes(sample_zero_map()) == 72);  // a range of a TiB is one of them
}
