#include "base/wire.h"

#include <catch2/catch.hpp>
#include <random>

using namespace coppice;

TEST_CASE("what a writer appends a reader gives back") {
  std::vector<std::byte> bytes;
  Writer out(bytes);
  out.u8(1), out.u16(0x0203), out.u32(0x04050607), out.u64(0x08090a0b0c0d0e0f), out.text("leaf");
  CHECK(bytes.size() == 20);
  CHECK(bytes[1] == std::byte{3});  // little-endian
  Reader in(bytes);
  CHECK(in.u8() == 1);
  CHECK(in.u16() == 0x0203);
  CHECK(in.u32() == 0x04050607);
  CHECK(in.u64() == 0x08090a0b0c0d0e0f);
  CHECK(in.text() == "leaf");
  CHECK(in.ok());
  CHECK(in.done());
}

TEST_CASE("varints: every width, and one encoding per value") {
  std::mt19937_64 random(3);
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t value =
        i < 2 ? std::uint64_t{0} - static_cast<unsigned>(i) : random() >> (random() % 64);
    std::vector<std::byte> bytes;
    Writer(bytes).varint(value);
    Reader in(bytes);
    REQUIRE(in.varint() == value);
    REQUIRE((in.ok() && in.done()));
    for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
      std::vector<std::byte> part(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(cut));
      Reader shorter(part);
      REQUIRE(shorter.varint() == 0);
      REQUIRE_FALSE(shorter.ok());
    }
    if (bytes.size() == 10) continue;
    bytes.back() |= std::byte{0x80};
    bytes.push_back(std::byte{0});
    Reader longer(bytes);
    longer.varint();
    REQUIRE_FALSE(longer.ok());
  }
}

TEST_CASE("a varint beyond 64 bits is refused") {
  std::vector<std::byte> bytes(9, std::byte{0xff});
  bytes.push_back(std::byte{2});
  Reader in(bytes);
  in.varint();
  CHECK_FALSE(in.ok());
}

TEST_CASE("a reader never goes past its end, and stays failed") {
  std::vector<std::byte> bytes(3, std::byte{0x7f});
  Reader in(bytes);
  CHECK(in.u32() == 0);
  CHECK_FALSE(in.ok());
  CHECK(in.u8() == 0x7f);
  CHECK_FALSE(in.ok());
  Reader text(bytes);  // a length of 127 with 2 bytes behind it
  CHECK(text.text().empty());
  CHECK_FALSE(text.ok());
}
