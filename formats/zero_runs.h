// Finds what need not be stored: blocks of zeroes.
//
// Pure. A run starts and ends on a block boundary of the disk, or at the end of the span.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace coppice::formats {

struct Run {
  std::size_t offset = 0;  // within the span
  std::size_t length = 0;
  bool operator==(const Run&) const = default;
};

[[nodiscard]] bool all_zero(std::span<const std::byte> bytes);
// The stretches of `bytes` whose blocks are not all zero. The span begins on a block of the disk.
[[nodiscard]] std::vector<Run> data_runs(std::span<const std::byte> bytes);

}  // namespace coppice::formats
