// The engine's vocabulary as types: a block of a disk is never mistaken for a block of the pool.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace coppice {

inline constexpr std::uint64_t kBlockBytes = 4096;  // unit of mapping, checksum and change tracking
inline constexpr std::uint64_t kLeafBlocks = 64;    // blocks of a disk described by one leaf: 256 KiB
inline constexpr std::uint64_t kLeafBytes = kLeafBlocks * kBlockBytes;
inline constexpr std::uint64_t kSectorBytes = 512;                          // disk sizes are multiples of it
inline constexpr std::uint64_t kMaxDiskBytes = std::uint64_t{1} << 54;      // 16 PiB
inline constexpr std::uint64_t kMaxRequestBytes = std::uint64_t{32} << 20;  // one read, write or zero request

// A number that only mixes with its own kind. `value` is public: it is what reaches the disk.
template <class Tag>
struct Number {
  std::uint64_t value = 0;
  constexpr auto operator<=>(const Number&) const = default;
  [[nodiscard]] constexpr Number next(std::uint64_t steps = 1) const { return Number{value + steps}; }
};

using BlockIndex = Number<struct BlockIndexTag>;  // a 4 KiB block of a disk, counted from its start
using LeafIndex = Number<struct LeafIndexTag>;    // block index / kLeafBlocks
using Epoch = Number<struct EpochTag>;            // pool-wide counter, bumped by each snapshot; 0 = never
using BranchId = Number<struct BranchIdTag>;      // a line of epochs; 0 = none
using NodeId = Number<struct NodeIdTag>;          // a snapshot or a head in the tree; 0 = none
using DiskId = Number<struct DiskIdTag>;          // a disk, whatever its name; 0 = none

// A block of the pool: member in the top byte, block within the member below. Zero is a superblock and
// so never data.
struct PhysicalBlock {
  std::uint64_t value = 0;
  constexpr auto operator<=>(const PhysicalBlock&) const = default;
  static constexpr unsigned kMemberShift = 40;
  static constexpr PhysicalBlock of(std::uint64_t member, std::uint64_t block) {
    return PhysicalBlock{(member << kMemberShift) | block};
  }
  [[nodiscard]] constexpr std::uint64_t member() const { return value >> kMemberShift; }
  [[nodiscard]] constexpr std::uint64_t block() const {
    return value & ((std::uint64_t{1} << kMemberShift) - 1);
  }
  [[nodiscard]] constexpr std::uint64_t offset_bytes() const { return block() * kBlockBytes; }
  [[nodiscard]] constexpr PhysicalBlock next(std::uint64_t steps = 1) const {
    return PhysicalBlock{value + steps};
  }
};

constexpr LeafIndex leaf_of(BlockIndex block) {
  return LeafIndex{block.value / kLeafBlocks};
}
constexpr unsigned index_in_leaf(BlockIndex block) {
  return static_cast<unsigned>(block.value % kLeafBlocks);
}
constexpr BlockIndex first_block(LeafIndex leaf) {
  return BlockIndex{leaf.value * kLeafBlocks};
}

constexpr std::uint64_t round_down(std::uint64_t value, std::uint64_t unit) {
  return value / unit * unit;
}
constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

// What an image is read as. Stored: the numbers stay.
enum class BaseFormat : std::uint8_t { kRaw = 1, kQcow2 = 2 };

}  // namespace coppice

template <class Tag>
struct std::hash<coppice::Number<Tag>> {
  std::size_t operator()(const coppice::Number<Tag>& number) const noexcept {
    return static_cast<std::size_t>(number.value * 0x9e3779b97f4a7c15ULL);
  }
};
