// How a slab is divided. All offsets in blocks from the slab's start:
//
//   0                    slab header
//   1, 2                 granule page, two copies: dirty marks and suspects, one bit per 16 MiB granule
//   then                 allocation bitmap pages: copy A of page 0, copy B of page 0, copy A of page 1, …
//   then                 checksum pages, copies A and B side by side in the same way
//   then                 data, to the end
//
// The two copies of a page stand side by side so that one read fetches both. Bit or entry i of a bitmap or
// checksum page speaks of block i of the *slab* (metadata blocks included, always free of checksums and
// always allocated), which keeps the arithmetic to one division.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/uuid.h"
#include "coppice/result.h"
#include "coppice/types.h"
#include "layout/page.h"

namespace coppice {

inline constexpr std::uint64_t kGranuleBlocks = (16u << 20) / kBlockBytes;
inline constexpr std::uint64_t kDefaultSlabBlocks = (std::uint64_t{1} << 30) / kBlockBytes;
inline constexpr std::uint64_t kMinSlabBlocks = (std::uint64_t{16} << 20) / kBlockBytes;
// What the format admits; stores are made with kMinSlabBlocks or more. Tiny pools are for simulations.
inline constexpr std::uint64_t kLeastSlabBlocks = 256;
inline constexpr std::uint64_t kBitmapBlocksPerPage = kPageContentBytes * 8;  // 32,640
inline constexpr std::uint64_t kChecksumsPerPage = kPageContentBytes / 4;     // 1,020

struct SlabLayout {
  std::uint64_t slab_blocks = 0;

  [[nodiscard]] constexpr std::uint64_t granules() const {
    return (slab_blocks + kGranuleBlocks - 1) / kGranuleBlocks;
  }
  [[nodiscard]] constexpr std::uint64_t bitmap_pages() const {
    return (slab_blocks + kBitmapBlocksPerPage - 1) / kBitmapBlocksPerPage;
  }
  [[nodiscard]] constexpr std::uint64_t checksum_pages() const {
    return (slab_blocks + kChecksumsPerPage - 1) / kChecksumsPerPage;
  }
  // Block of copy 0; copy 1 follows it.
  [[nodiscard]] constexpr std::uint64_t granule_page() const { return 1; }
  [[nodiscard]] constexpr std::uint64_t bitmap_page(std::uint64_t page) const { return 3 + 2 * page; }
  [[nodiscard]] constexpr std::uint64_t checksum_page(std::uint64_t page) const {
    return 3 + 2 * bitmap_pages() + 2 * page;
  }
  [[nodiscard]] constexpr std::uint64_t first_data_block() const {
    return 3 + 2 * bitmap_pages() + 2 * checksum_pages();
  }
  [[nodiscard]] constexpr std::uint64_t data_blocks() const { return slab_blocks - first_data_block(); }
};

struct SlabHeader {
  Uuid store;
  std::uint32_t member = 0;
  std::uint64_t slab = 0;  // index within the member
  std::uint64_t slab_blocks = 0;
  bool operator==(const SlabHeader&) const = default;
};
void encode_slab_header(const SlabHeader& header, std::span<std::byte, kBlockBytes> into);
Result<SlabHeader> decode_slab_header(std::span<const std::byte, kBlockBytes> from);

}  // namespace coppice
