// Entry: a CachedLeaf with what only the map needs to know of it.
//
// The entries of one (branch, leaf) form a chain, oldest version first and an inherited one before all. Each
// answers for the epochs [version, valid_to]; the intervals of a chain never overlap. An entry with an
// overlay differs from the MetaStore (or may, for readers still on their way) and is never evicted. Thread:
// the store's scheduler.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "map/leaf_map.h"

namespace coppice {

inline constexpr Epoch kForever{std::numeric_limits<std::uint64_t>::max()};

struct DirtyRegion;

struct Overlay {
  std::uint64_t pending_mask = 0;    // changes not yet in any batch
  std::uint64_t collected_mask = 0;  // changes in batches that readers may not see yet
  DirtyRegion* region = nullptr;     // of the DirtyIndex,
  std::uint32_t position = 0;        // and the place in it
  std::uint32_t counted_bytes = 0;   // in LeafMap::dirty_bytes()
  std::uint32_t batches = 0;         // collected into, and not yet settled
  std::uint64_t punched_in = 0;      // the round of collecting that it was punched or deleted in
  bool pending = false;              // to be collected
};

struct Entry;
// The version, which never changes, stands beside the pointer: a look-up among thousands reads one array and
// not an entry for each step.
struct Link {
  Epoch version;
  Entry* entry = nullptr;
};
struct Chain {
  std::vector<Link> links;
  std::uint32_t overlays = 0;  // of its entries: those the cache can't evict
};

struct Entry final : CachedLeaf {
  Epoch valid_to;
  Chain* chain = nullptr;  // the cache's; null for the only one of its (branch, leaf)
  std::unique_ptr<Overlay> overlay;
  std::uint32_t bytes = 0;  // as counted in the cache
  bool erased = false;      // the version is deleted; kept until the MetaStore knows
  bool orphaned = false;    // out of the cache; freed by the last one who holds it
  bool referenced = false;  // used since the clock's hand last passed

  [[nodiscard]] LeafKey key() const { return {branch, index, version}; }
  [[nodiscard]] bool is_version() const { return !inherited && !erased; }
};
// 1.6 GiB a TiB of disk, checksums included, is what it may come to.
static_assert(sizeof(Entry) <= 104);

}  // namespace coppice
