// What all fuzz targets share.
//
// Each target is a program of its own that libFuzzer drives: `run_one` is given bytes as an attacker, or bad
// hardware, would write them. A target checks more than "no crash": what is accepted has to be exactly what
// the encoder writes, so that no two byte strings mean the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace coppice::fuzz {

using Bytes = std::vector<std::byte>;
using Input = std::span<const std::byte>;

void run_one(Input input);

inline void demand(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

// Takes a number off the front; zero when nothing is left.
inline std::uint8_t take_byte(Input& input) {
  if (input.empty()) return 0;
  const auto value = static_cast<std::uint8_t>(input.front());
  input = input.subspan(1);
  return value;
}

inline std::string_view as_text(Input input) {
  return {reinterpret_cast<const char*>(input.data()), input.size()};
}

// The input at the start of a zeroed block, behind `skipped` bytes that the caller fills.
inline Bytes in_block(Input input, std::size_t block_bytes, std::size_t skipped = 0) {
  Bytes block(block_bytes);
  const std::size_t used = input.size() < block_bytes - skipped ? input.size() : block_bytes - skipped;
  if (used != 0) std::memcpy(block.data() + skipped, input.data(), used);
  return block;
}

}  // namespace coppice::fuzz
