// Fixed parts of on-disk structures as C++ structs, copied in and out of bytes.
//
// Invariant: such a struct is exactly its bytes: trivially copyable, without padding; each use asserts its
// size and offsets beside its definition. `SealedBlock` adds the frame that superblocks and slab headers
// share. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "base/hash.h"
#include "base/wire.h"
#include "coppice/types.h"

namespace coppice {

template <class T>
concept WireStruct = std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>;

template <WireStruct T>
void store_struct(const T& value, std::span<std::byte> into) {
  std::memcpy(into.first(sizeof(T)).data(), &value, sizeof(T));
}
// `from` holds at least sizeof(T).
template <WireStruct T>
T load_struct(std::span<const std::byte> from) {
  T value;
  std::memcpy(&value, from.first(sizeof(T)).data(), sizeof(T));
  return value;
}
template <WireStruct T>
void append_struct(const T& value, std::vector<std::byte>& into) {
  const auto* first = reinterpret_cast<const std::byte*>(&value);
  into.insert(into.end(), first, first + sizeof(T));
}

// A run of blocks that data can stand in: within one member, and not on its first superblock.
constexpr bool is_data_run(PhysicalBlock first, std::uint64_t count) {
  constexpr std::uint64_t kEnd = std::uint64_t{1} << PhysicalBlock::kMemberShift;
  return first.block() != 0 && count != 0 && count <= kEnd - first.block();
}
// A counter never gets there; what a leaf adds to an epoch can't overflow below it.
inline constexpr std::uint64_t kEpochEnd = std::uint64_t{1} << 60;
// A range of blocks within the largest disk.
constexpr bool is_disk_range(BlockIndex first, std::uint64_t count) {
  constexpr std::uint64_t kEnd = kMaxDiskBytes / kBlockBytes;
  return count != 0 && first.value < kEnd && count <= kEnd - first.value;
}

// Eight characters that a hex dump shows in order.
consteval std::uint64_t magic_of(const char (&text)[9]) {
  std::uint64_t value = 0;
  for (unsigned i = 0; i < 8; ++i)
    value |= static_cast<std::uint64_t>(static_cast<unsigned char>(text[i])) << (8 * i);
  return value;
}

// One block: magic u64 | hash u64 of everything behind it, seeded with the magic | the structure | zeroes.
struct SealHead {
  std::uint64_t magic = 0;
  std::uint64_t hash = 0;
};
static_assert(sizeof(SealHead) == 16 && offsetof(SealHead, hash) == 8);

enum class Seal : std::uint8_t { kWhole, kForeign, kDamaged };

template <WireStruct T>
void seal_block(std::uint64_t magic, const T& body, std::span<std::byte, kBlockBytes> into) {
  static_assert(sizeof(SealHead) + sizeof(T) <= kBlockBytes);
  std::memset(into.data(), 0, into.size());
  store_struct(body, into.subspan(sizeof(SealHead)));
  store_struct(SealHead{magic, hash64(into.subspan(sizeof(SealHead)), magic)}, into);
}
inline Seal check_seal(std::uint64_t magic, std::span<const std::byte, kBlockBytes> block) {
  const auto head = load_struct<SealHead>(block);
  if (head.magic != magic) return Seal::kForeign;
  return head.hash == hash64(block.subspan(sizeof(SealHead)), magic) ? Seal::kWhole : Seal::kDamaged;
}

}  // namespace coppice
