// One request of the model, its answer, and how it changes what a disk must hold.
#pragma once

#include "world.h"

namespace coppice::test {

struct World::Request {
  enum class Kind : std::uint8_t { kRead, kWrite, kZero, kDiscard, kFlush } kind = Kind::kRead;
  Range range;
  std::vector<std::byte> bytes;  // to write, or what was read
  bool force_unit_access = false;
  bool no_hole = false;
  Result<> answer;
  [[nodiscard]] std::string text() const {
    static constexpr const char* kNames[] = {"read", "write", "zero", "discard", "flush"};
    return std::string(kNames[static_cast<int>(kind)]) + (no_hole ? "(no hole) " : " ") +
           std::to_string(range.offset) + "+" + std::to_string(range.length) +
           (force_unit_access ? " fua" : "");
  }
  [[nodiscard]] std::uint64_t first_block() const { return range.offset / kBlockBytes; }
  [[nodiscard]] std::uint64_t end_block() const {
    return round_up(range.offset + range.length, kBlockBytes) / kBlockBytes;
  }
  [[nodiscard]] bool changes() const {
    return kind == Kind::kWrite || kind == Kind::kZero || kind == Kind::kDiscard;
  }
};

}  // namespace coppice::test
