// What a 512-byte sector holds in the simulation: one number, from which all of its bytes follow, so that
// whatever is read can be told apart: zeroes (0), a value that was written, or garbage.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

#include "coppice/types.h"

namespace coppice::sim {

using Value = std::uint64_t;
// Nothing: what was never written so.
using SectorContent = std::optional<Value>;

inline std::uint64_t sector_word(Value value, unsigned word) {
  if (value == 0) return 0;
  return word == 0 ? value : (value + word) * 0x9e3779b97f4a7c15ULL;
}

// What the image under disks holds: values that nobody writes, zeroes among them. Its end is inside a block.
inline constexpr std::uint64_t kBaseSectors = 70 * 8 + 3;
constexpr Value base_value(std::uint64_t sector) {
  return sector >= kBaseSectors || sector / 8 % 5 == 3 ? 0 : sector + 1;
}

inline void fill_sector(std::span<std::byte> sector, Value value) {
  for (unsigned word = 0; word < kSectorBytes / 8; ++word) {
    const std::uint64_t each = sector_word(value, word);
    std::memcpy(sector.data() + word * 8, &each, 8);
  }
}

inline SectorContent sector_value(std::span<const std::byte> sector) {
  Value value = 0;
  std::memcpy(&value, sector.data(), 8);
  for (unsigned word = 0; word < kSectorBytes / 8; ++word) {
    std::uint64_t each = 0;
    std::memcpy(&each, sector.data() + word * 8, 8);
    if (each != sector_word(value, word)) return std::nullopt;
  }
  return value;
}

}  // namespace coppice::sim
