// Keys of the three column families. Big-endian, so that RocksDB's byte order is the order of the numbers.
//
//   leaf    branch u64 | leaf u64 | ~epoch u64     → an encoded Leaf; the newest version sorts first
//   change  branch u64 | epoch u64 | leaf u64      → mask u64: blocks written in that epoch
//   meta    text keys, see tree_values.h
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "coppice/types.h"

namespace coppice {

// An encoded key of three numbers.
class KeyBytes {
 public:
  KeyBytes(std::uint64_t first, std::uint64_t second, std::uint64_t third);
  operator std::string_view() const { return {bytes_.data(), bytes_.size()}; }

 private:
  std::array<char, 24> bytes_;
};

struct LeafKey {
  BranchId branch;
  LeafIndex leaf;
  Epoch version;
  auto operator<=>(const LeafKey&) const = default;
};
KeyBytes encode_key(const LeafKey& key);
std::optional<LeafKey> decode_leaf_key(std::string_view key);

struct ChangeKey {
  BranchId branch;
  Epoch epoch;
  LeafIndex leaf;
  auto operator<=>(const ChangeKey&) const = default;
};
KeyBytes encode_key(const ChangeKey& key);
std::optional<ChangeKey> decode_change_key(std::string_view key);

std::string encode_mask(std::uint64_t mask);
std::optional<std::uint64_t> decode_mask(std::string_view value);

}  // namespace coppice
