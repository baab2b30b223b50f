// A metadata page of a slab: 4 KiB that carry their own sequence and hash, kept in two alternating copies so
// that a torn write leaves the other one whole.
//
// Layout: sequence u64 | xxh3 u64 of the remaining 4080 bytes and the sequence, seeded with the page's own
// address | 4080 bytes of content. A page of zeroes was never written and is valid, with sequence 0: slabs
// are zero when they are added.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "coppice/types.h"

namespace coppice {

inline constexpr std::size_t kPageHeaderBytes = 16;
inline constexpr std::size_t kPageContentBytes = kBlockBytes - kPageHeaderBytes;

using PageBytes = std::span<std::byte, kBlockBytes>;
using ConstPageBytes = std::span<const std::byte, kBlockBytes>;

// Fills in the header. `sequence` > 0.
void seal_page(PageBytes page, std::uint64_t sequence, PhysicalBlock address);
// The page's sequence, or nothing if its content is not what was sealed there.
std::optional<std::uint64_t> verify_page(ConstPageBytes page, PhysicalBlock address);
inline std::span<std::byte, kPageContentBytes> page_content(PageBytes page) {
  return page.subspan<kPageHeaderBytes>();
}
inline std::span<const std::byte, kPageContentBytes> page_content(ConstPageBytes page) {
  return page.subspan<kPageHeaderBytes>();
}

}  // namespace coppice
