#include "coppice/bytes.h"

#include <charconv>
#include <limits>
#include <string_view>

namespace coppice {

namespace {
constexpr std::string_view kUnits = "KMGTP";
}

Outcome<std::uint64_t> parse_size(const std::string& text) {
  std::uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  const auto unit = rest == end ? 0 : kUnits.find(*rest) + 1;  // npos + 1 is 0 too
  const bool whole = rest == end || (unit != 0 && rest + 1 == end);
  if (error == std::errc::invalid_argument || !whole)
    return refuse(ErrorKind::kInvalid,
                  "'" + text + "' is not a size: write bytes, or a whole number with K, M, G, T or P (10G)");
  const auto shift = 10 * unit;
  if (error != std::errc{} || value > std::numeric_limits<std::uint64_t>::max() >> shift)
    return refuse(ErrorKind::kInvalid, "'" + text + "' is too large: a size is less than 16384P");
  return value << shift;
}

std::string format_size(std::uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " B";
  // Tenths of the unit, rounded; what rounds up to 1024.0 is 1.0 of the next one.
  for (unsigned unit = 0;; ++unit) {
    const unsigned shift = 10 * (unit + 1);
    const std::uint64_t whole = bytes >> shift;
    const std::uint64_t part = (bytes >> (shift - 10)) & 1023;
    const std::uint64_t tenths = whole * 10 + (part * 10 + 512) / 1024;
    const bool last = unit + 1 == kUnits.size();
    if (tenths < 10240 || last)
      return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " " + kUnits[unit] + "iB";
  }
}

}  // namespace coppice
