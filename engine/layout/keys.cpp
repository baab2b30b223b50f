#include "layout/keys.h"

#include <bit>
#include <cstring>

namespace coppice {

namespace {

constexpr std::size_t kKeyBytes = 24;

std::uint64_t swapped(std::uint64_t value) {
  return __builtin_bswap64(value);
}
static_assert(std::endian::native == std::endian::little);

// `key` is kKeyBytes long.
std::uint64_t number_at(std::string_view key, std::size_t offset) {
  std::uint64_t value = 0;
  std::memcpy(&value, key.data() + offset, sizeof value);
  return swapped(value);
}

}  // namespace

KeyBytes::KeyBytes(std::uint64_t first, std::uint64_t second, std::uint64_t third) {
  const std::uint64_t numbers[] = {swapped(first), swapped(second), swapped(third)};
  static_assert(sizeof numbers == kKeyBytes);
  std::memcpy(bytes_.data(), numbers, sizeof numbers);
}

KeyBytes encode_key(const LeafKey& key) {
  return {key.branch.value, key.leaf.value, ~key.version.value};
}

std::optional<LeafKey> decode_leaf_key(std::string_view key) {
  if (key.size() != kKeyBytes) return std::nullopt;
  return LeafKey{
      .branch = {number_at(key, 0)}, .leaf = {number_at(key, 8)}, .version = {~number_at(key, 16)}};
}

KeyBytes encode_key(const ChangeKey& key) {
  return {key.branch.value, key.epoch.value, key.leaf.value};
}

std::optional<ChangeKey> decode_change_key(std::string_view key) {
  if (key.size() != kKeyBytes) return std::nullopt;
  return ChangeKey{.branch = {number_at(key, 0)}, .epoch = {number_at(key, 8)}, .leaf = {number_at(key, 16)}};
}

std::string encode_mask(std::uint64_t mask) {
  return {reinterpret_cast<const char*>(&mask), sizeof mask};
}

std::optional<std::uint64_t> decode_mask(std::string_view value) {
  std::uint64_t mask = 0;
  if (value.size() != sizeof mask) return std::nullopt;
  std::memcpy(&mask, value.data(), sizeof mask);
  return mask;
}

}  // namespace coppice
