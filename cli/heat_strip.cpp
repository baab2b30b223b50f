#include "cli/heat_strip.h"

#include <algorithm>
#include <vector>

#include "coppice/bytes.h"
#include "coppice/types.h"

namespace coppice::cli {
namespace {

constexpr const char* kBlocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr const char* kCharacters[] = {" ", ".", ":", "-", "=", "+", "*", "#", "@"};
constexpr std::uint64_t kLevels = 8;
constexpr std::size_t kFrame = 2;
constexpr std::size_t kFewestColumns = 8;

// Whole blocks a column, so that a small disk gets a short strip.
std::uint64_t bytes_a_column(std::uint64_t size_bytes, std::size_t columns) {
  const std::uint64_t least = (size_bytes + columns - 1) / columns;
  return std::max(kBlockBytes, round_up(least, kBlockBytes));
}

std::vector<std::uint64_t> changed_by_column(std::span<const DiffRange> ranges, std::uint64_t size_bytes,
                                             std::uint64_t column_bytes) {
  std::vector<std::uint64_t> changed((size_bytes + column_bytes - 1) / column_bytes);
  for (const DiffRange& range : ranges) {
    const std::uint64_t end = std::min(range.offset_bytes + range.length_bytes, size_bytes);
    for (std::uint64_t at = range.offset_bytes; at < end;) {
      const std::uint64_t column = at / column_bytes;
      const std::uint64_t until = std::min(end, (column + 1) * column_bytes);
      changed[column] += until - at;
      at = until;
    }
  }
  return changed;
}

}  // namespace

std::string draw_strip(std::span<const DiffRange> ranges, std::uint64_t size_bytes, const StripStyle& style) {
  const std::size_t columns = std::max(style.columns, kFewestColumns + kFrame) - kFrame;
  const std::uint64_t column_bytes = bytes_a_column(size_bytes, columns);
  const auto& signs = style.unicode ? kBlocks : kCharacters;
  std::string strip = style.unicode ? "▕" : "[";
  std::uint64_t total = 0;
  std::uint64_t start = 0;
  for (const std::uint64_t changed : changed_by_column(ranges, size_bytes, column_bytes)) {
    const std::uint64_t whole = std::min(column_bytes, size_bytes - start);
    const std::uint64_t level = changed == 0 ? 0 : std::max<std::uint64_t>(1, changed * kLevels / whole);
    strip += signs[std::min(level, kLevels)];
    total += changed;
    start += column_bytes;
  }
  strip += style.unicode ? "▏\n" : "]\n";
  return strip + format_size(total) + " of " + format_size(size_bytes) + " in " +
         std::to_string(ranges.size()) + (ranges.size() == 1 ? " range" : " ranges") + "; a column is " +
         format_size(column_bytes) + "\n";
}

}  // namespace coppice::cli
