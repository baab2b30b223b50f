#include "image/qcow2.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace coppice {

namespace {

constexpr std::uint32_t kMagic = 0x514649fb;  // "QFI\xfb"
constexpr std::uint64_t kOffsetMask = 0x00fffffffffffe00;
constexpr std::uint64_t kPackedBit = std::uint64_t{1} << 62;
constexpr std::uint64_t kZeroBit = 1;
constexpr std::uint64_t kPackedUnit = 512;
constexpr std::uint32_t kLeastClusterBits = 9;
constexpr std::uint32_t kMostClusterBits = 21;
constexpr std::uint64_t kMostL1Bytes = std::uint64_t{32} << 20;  // as QEMU

constexpr std::uint64_t kDirty = 1;
constexpr std::uint64_t kCorrupt = 2;
constexpr std::uint64_t kExternalData = 4;
constexpr std::uint64_t kCompressionType = 8;
constexpr std::uint64_t kExtendedL2 = 16;

// Where the header's fields stand.
constexpr std::size_t kVersionAt = 4;
constexpr std::size_t kBackingOffsetAt = 8;
constexpr std::size_t kBackingLengthAt = 16;
constexpr std::size_t kClusterBitsAt = 20;
constexpr std::size_t kSizeAt = 24;
constexpr std::size_t kCryptAt = 32;
constexpr std::size_t kL1EntriesAt = 36;
constexpr std::size_t kL1OffsetAt = 40;
constexpr std::size_t kVersion2Bytes = 72;
constexpr std::size_t kIncompatibleAt = 72;
constexpr std::size_t kLengthAt = 100;
constexpr std::size_t kVersion3Bytes = 104;
constexpr std::size_t kCompressionAt = 104;

template <class T>
T big(std::span<const std::byte> bytes, std::size_t at) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i)
    value = static_cast<T>(value << 8 | std::to_integer<T>(bytes[at + i]));
  return value;
}

std::unexpected<Failure> cannot(std::string why) {
  return refuse(ErrorKind::kUnsupported, std::move(why));
}
std::unexpected<Failure> damaged(const char* what) {
  return refuse(ErrorKind::kCorrupt, fmt::format("its qcow2 header is damaged: {}", what));
}

std::string backing_name(std::span<const std::byte> head) {
  const std::uint64_t at = big<std::uint64_t>(head, kBackingOffsetAt);
  const std::uint64_t length = big<std::uint32_t>(head, kBackingLengthAt);
  if (at > head.size() || length > head.size() - at) return "?";
  std::string name(reinterpret_cast<const char*>(head.data() + at), length);
  std::ranges::replace_if(name, [](char c) { return static_cast<unsigned char>(c) < ' '; }, '?');
  return name;
}

Outcome<> check_features(std::uint64_t features) {
  if ((features & kCorrupt) != 0)
    return refuse(ErrorKind::kCorrupt, "it is marked corrupt: qemu-img check -r all repairs it");
  if ((features & kExternalData) != 0)
    return cannot("its data is in another file: make it whole (qemu-img convert -O qcow2)");
  if ((features & kExtendedL2) != 0)
    return cannot(
        "it has subclusters (extended_l2): convert it (qemu-img convert -O qcow2 -o extended_l2=off)");
  if ((features & ~(kDirty | kCorrupt | kCompressionType)) != 0)
    return cannot("it has features of a newer qcow2: convert it (qemu-img convert -O raw)");
  return {};
}

Outcome<> check_version_3(std::span<const std::byte> head, Qcow2Header& header) {
  if (head.size() < kVersion3Bytes) return damaged("it ends early");
  const auto features = big<std::uint64_t>(head, kIncompatibleAt);
  auto known = check_features(features);
  if (!known) return known;
  if ((features & kCompressionType) == 0) return {};
  if (big<std::uint32_t>(head, kLengthAt) <= kCompressionAt || head.size() <= kCompressionAt)
    return damaged("it ends before its compression type");
  const auto type = std::to_integer<unsigned>(head[kCompressionAt]);
  if (type > 1)
    return cannot("it is packed in a way that is not known: convert it (qemu-img convert -O raw)");
  header.zstd = type == 1;
  return {};
}

// The table of the first level, as far as the size needs it, lies within the file.
Outcome<> check_tables(std::span<const std::byte> head, std::uint64_t file_bytes, Qcow2Header& header) {
  const std::uint64_t covers = header.l2_covers();
  header.l1_entries = header.size_bytes / covers + (header.size_bytes % covers != 0 ? 1 : 0);
  const std::uint64_t bytes = header.l1_entries * kQcow2EntryBytes;
  if (header.l1_entries > kMostL1Bytes / kQcow2EntryBytes) return cannot("it is too large for its clusters");
  if (header.l1_entries > big<std::uint32_t>(head, kL1EntriesAt))
    return damaged("its first table is too short for its size");
  if (header.l1_offset % header.cluster_bytes() != 0 || header.l1_offset > file_bytes ||
      bytes > file_bytes - header.l1_offset)
    return damaged("its first table is not within the file");
  return {};
}

}  // namespace

bool is_qcow2(std::span<const std::byte> head) {
  return head.size() >= 4 && big<std::uint32_t>(head, 0) == kMagic;
}

Outcome<Qcow2Header> parse_qcow2(std::span<const std::byte> head, std::uint64_t file_bytes) {
  if (!is_qcow2(head)) return refuse(ErrorKind::kInvalid, "it is no qcow2 image");
  if (head.size() < kVersion2Bytes) return damaged("it ends early");
  Qcow2Header header;
  header.version = big<std::uint32_t>(head, kVersionAt);
  if (header.version != 2 && header.version != 3)
    return cannot(fmt::format("it is of version {} of qcow2, and 2 and 3 are read", header.version));
  header.cluster_bits = big<std::uint32_t>(head, kClusterBitsAt);
  header.size_bytes = big<std::uint64_t>(head, kSizeAt);
  header.l1_offset = big<std::uint64_t>(head, kL1OffsetAt);
  if (header.cluster_bits < kLeastClusterBits || header.cluster_bits > kMostClusterBits)
    return damaged("clusters of such a size are not to be");
  if (big<std::uint32_t>(head, kCryptAt) != 0)
    return cannot("it is encrypted: decrypt it (qemu-img convert -O qcow2)");
  if (header.version == 3) {
    auto known = check_version_3(head, header);
    if (!known) return std::unexpected(known.error());
  }
  if (big<std::uint64_t>(head, kBackingOffsetAt) != 0) {
    return cannot(fmt::format("it stands on another image, {}: make it whole (qemu-img convert -O qcow2)",
                              backing_name(head)));
  }
  if (header.size_bytes == 0) return refuse(ErrorKind::kInvalid, "it is empty");
  auto tables = check_tables(head, file_bytes, header);
  if (!tables) return std::unexpected(tables.error());
  return header;
}

std::uint64_t qcow2_entry(std::span<const std::byte> table, std::uint64_t index) {
  return big<std::uint64_t>(table, index * kQcow2EntryBytes);
}

Qcow2Place qcow2_l2_table(const Qcow2Header& header, std::uint64_t l1_entry, std::uint64_t file_bytes) {
  const std::uint64_t offset = l1_entry & kOffsetMask;
  if (offset == 0) return {Qcow2Place::Kind::kZero, 0, 0};
  const bool within = offset <= file_bytes && header.cluster_bytes() <= file_bytes - offset;
  if (!within || offset % header.cluster_bytes() != 0) return {};
  return {Qcow2Place::Kind::kData, offset, header.cluster_bytes()};
}

namespace {

// The length is told in sectors, the first one counted from the offset: the end of what is packed lies in
// the last one.
Qcow2Place packed(const Qcow2Header& header, std::uint64_t entry, std::uint64_t file_bytes) {
  const std::uint32_t offset_bits = 62 - (header.cluster_bits - 8);
  const std::uint64_t offset = entry & ((std::uint64_t{1} << offset_bits) - 1);
  const std::uint64_t sectors = ((entry & (kPackedBit - 1)) >> offset_bits) + 1;
  if (offset == 0 || offset >= file_bytes) return {};
  const std::uint64_t length = sectors * kPackedUnit - offset % kPackedUnit;
  return {Qcow2Place::Kind::kPacked, offset, std::min(length, file_bytes - offset)};
}

}  // namespace

Qcow2Place qcow2_cluster(const Qcow2Header& header, std::uint64_t entry, std::uint64_t file_bytes) {
  if ((entry & kPackedBit) != 0) return packed(header, entry, file_bytes);
  if (header.version >= 3 && (entry & kZeroBit) != 0) return {Qcow2Place::Kind::kZero, 0, 0};
  const std::uint64_t offset = entry & kOffsetMask;
  if (offset == 0) return {Qcow2Place::Kind::kZero, 0, 0};
  if (offset % header.cluster_bytes() != 0 || offset >= file_bytes) return {};
  return {Qcow2Place::Kind::kData, offset, header.cluster_bytes()};
}

}  // namespace coppice
