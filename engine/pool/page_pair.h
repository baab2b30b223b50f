// The two alternating copies of a metadata page: which one counts, and where the next image goes.
//
// Invariant: the current copy is never written over, so a torn write leaves it whole. The copies stand side
// by side and are read together.
// Threads: the store's scheduler.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "coppice/result.h"
#include "coppice/task.h"
#include "layout/page.h"
#include "pool/pool.h"

namespace coppice {

inline constexpr std::size_t kPagePairBytes = 2 * kBlockBytes;

struct PagePair {
  std::uint64_t sequence = 0;  // of the current copy
  std::uint8_t current = 0;
  bool damaged_other = false;  // the other copy did not verify when it was read: torn, or gone bad
  bool zero_other = false;     // … or is all zeroes, which is valid of a page that was never written
};

struct ChosenPage {
  PagePair pair;
  std::span<const std::byte, kPageContentBytes> content;
};

// The valid copy with the higher sequence of the two in `both`, whose first stands at `first`. Nothing if
// neither verifies.
std::optional<ChosenPage> choose_copy(std::span<const std::byte> both, PhysicalBlock first);

// One image on its way to the copy that is not the current one.
struct PageWrite {
  PagePair* pair = nullptr;
  PhysicalBlock first;  // of copy 0
  PageBytes image;      // aligned; its header is filled in here
  bool written = false;
};

// Seals and writes the images; `pair` moves to the new copy where the write succeeded. `sequence` is raised,
// page by page, above the current copy's where it isn't already: it must tell the two copies apart.
Task<Result<>> write_pages(Pool& pool, std::span<PageWrite> writes, std::uint64_t sequence);

}  // namespace coppice
