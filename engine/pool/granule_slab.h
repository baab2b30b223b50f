// The granules of a slab, a bit each in 64-bit words. For granules*.cpp only.
//
// On the page: bitmap of marks in the first half of the content, of suspects in the second.
// Invariant: active ∪ taken ⊆ the marks that are durable on disk; the three mark words are disjoint.
#pragma once

#include <array>
#include <cstdint>

#include "pool/granules.h"
#include "pool/page_pair.h"

namespace coppice {

inline constexpr std::uint64_t kMaxGranules = 64;
inline constexpr std::size_t kGranuleMarksAt = kPageHeaderBytes;
inline constexpr std::size_t kSuspectsAt = kPageHeaderBytes + kPageContentBytes / 2;
static_assert(SlabLayout{kDefaultSlabBlocks}.granules() <= kMaxGranules);

struct Granules::Slab {
  PhysicalBlock start;
  PagePair pair;
  std::uint64_t active = 0;     // writers rely on these
  std::uint64_t taken = 0;      // on disk still, but writers must mark again
  std::uint64_t requested = 0;  // wanted by writers, not on disk yet
  std::uint64_t suspects = 0;
  std::uint64_t touched = 0;     // written to, or asked for, since the last take_idle()
  std::uint64_t ahead = 0;       // marked before anybody asked, since then
  std::uint64_t disk_marks = 0;  // what the current copy says
  std::uint64_t disk_suspects = 0;
  std::array<std::uint32_t, kMaxGranules> writes{};  // in flight

  [[nodiscard]] std::uint64_t wanted_marks() const { return active | taken | requested; }
  [[nodiscard]] bool changed() const {
    return wanted_marks() != disk_marks || suspects != disk_suspects || pair.damaged_other;
  }
};

}  // namespace coppice
