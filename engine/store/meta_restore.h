// Reading the copy of the metadata that the pool's superblock names: to verify it, or to make a MetaStore of
// it. Nothing of the pool is written. Threads: the store's scheduler.
#pragma once

#include <cstdint>

#include "map/meta_store.h"
#include "store/meta_chain.h"

namespace coppice {

struct CopyFound {
  std::uint64_t bytes = 0;    // of the pool that it takes
  std::uint64_t entries = 0;  // operations in base and log
  std::uint64_t applied = 0;  // the batch of the journal behind which redo starts
};
// What a MetaStore is made of ends at the log's mark: of what is behind it no sync is known, and a MetaStore
// must never hold more than the log will after the next crash (docs/durability.md, rule 42).
enum class CopyPart : std::uint8_t { kSynced, kAll };
// Reads base and log and, if there is an `into`, gives it all of that, in order, the last part synced.
// kNotFound: the pool holds no copy. kCorrupt: it is damaged before the log's mark.
Task<Result<CopyFound>> read_copy(Pool& pool, MetaStore* into, CopyPart part);

}  // namespace coppice
