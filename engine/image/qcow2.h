// qcow2, versions 2 and 3: what the header and the two levels of tables say. Pure functions on bytes that
// nobody vouches for: what they answer lies within the file that they were told of, or is broken.
//
// Read is what the image itself holds now: its snapshots' tables are not looked at, its reference counts not
// needed (an image that was not closed is read as any other). What a reader must understand and this one does
// not is refused: a backing file, encryption, data in another file, subclusters, what is newer.
#pragma once

#include <cstdint>
#include <span>

#include "coppice/result.h"

namespace coppice {

struct Qcow2Header {
  std::uint32_t version = 0;
  std::uint32_t cluster_bits = 0;
  std::uint64_t size_bytes = 0;  // of the disk, never 0
  std::uint64_t l1_offset = 0;
  std::uint64_t l1_entries = 0;  // as many as the size needs
  bool zstd = false;             // how clusters are packed; else zlib

  [[nodiscard]] std::uint64_t cluster_bytes() const { return std::uint64_t{1} << cluster_bits; }
  [[nodiscard]] std::uint64_t l2_entries() const { return cluster_bytes() / sizeof(std::uint64_t); }
  [[nodiscard]] std::uint64_t l2_covers() const {
    return cluster_bytes() * l2_entries();
  }  // bytes of the disk
};

inline constexpr std::size_t kQcow2HeadBytes = 4096;  // of the file, for the header, or all of a shorter one
inline constexpr std::size_t kQcow2EntryBytes = sizeof(std::uint64_t);

bool is_qcow2(std::span<const std::byte> head);
// Messages are without the image's name: "it has a backing file …".
Outcome<Qcow2Header> parse_qcow2(std::span<const std::byte> head, std::uint64_t file_bytes);

// What an entry of a table says. Entries are given as they stand in the file's tables, big-endian.
struct Qcow2Place {
  enum class Kind : std::uint8_t {
    kZero,
    kData,    // at `offset`; what of `length` is behind the file's end are zeroes that were never written
    kPacked,  // `length` bytes at `offset`, within the file
    kBroken,
  };
  Kind kind = Kind::kBroken;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool operator==(const Qcow2Place&) const = default;
};
std::uint64_t qcow2_entry(std::span<const std::byte> table, std::uint64_t index);
Qcow2Place qcow2_l2_table(const Qcow2Header& header, std::uint64_t l1_entry, std::uint64_t file_bytes);
Qcow2Place qcow2_cluster(const Qcow2Header& header, std::uint64_t l2_entry, std::uint64_t file_bytes);

}  // namespace coppice
