#include "coppice/bytes.h"

#include <catch2/catch.hpp>

using namespace coppice;

TEST_CASE("sizes are bytes or powers of 1024") {
  const std::pair<const char*, std::uint64_t> rows[] = {
      {"0", 0},
      {"512", 512},
      {"1K", 1024},
      {"10G", 10737418240},
      {"3T", 3ull << 40},
      {"16P", 16ull << 50},
      {"007M", 7ull << 20},
      {"18446744073709551615", ~0ull},
      {"16383P", 16383ull << 50},
  };
  for (const auto& [text, value] : rows) {
    INFO(text);
    const auto parsed = parse_size(text);
    REQUIRE(parsed);
    CHECK(*parsed == value);
  }
}

TEST_CASE("everything else is refused with the text in the message") {
  for (const char* text : {"", "K", "-1", "+1", " 1", "1 ", "1k", "1g", "1KB", "1KiB", "1.5G", "0x10", "1E",
                           "ten", "1GG", "18446744073709551616", "16384P", "99999999999999999999G"}) {
    INFO(text);
    const auto parsed = parse_size(text);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().kind == ErrorKind::kInvalid);
    CHECK(parsed.error().message.find(std::string("'") + text + "'") == 0);
  }
  CHECK_FALSE(parse_size(std::string("1\0", 2)));
}

TEST_CASE("sizes are written with one decimal, rounded") {
  const std::pair<std::uint64_t, const char*> rows[] = {
      {0, "0 B"},
      {1023, "1023 B"},
      {1024, "1.0 KiB"},
      {1536, "1.5 KiB"},
      {1024 * 1024 - 1, "1.0 MiB"},  // not "1024.0 KiB"
      {10737418240, "10.0 GiB"},
      {(1ull << 40) * 9 / 4, "2.3 TiB"},
      {1ull << 50, "1.0 PiB"},
      {~0ull, "16384.0 PiB"},
  };
  for (const auto& [bytes, text] : rows) CHECK(format_size(bytes) == text);
}
