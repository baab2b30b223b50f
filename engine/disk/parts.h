// What the data path stands on, borrowed from the store that owns it all.
#pragma once

#include <cstdint>
#include <functional>
#include <set>

#include "coppice/scheduler.h"
#include "disk/base.h"
#include "disk/dirty_limit.h"
#include "journal/journal.h"
#include "map/leaf_map.h"
#include "pool/allocator.h"
#include "pool/checksum_pages.h"
#include "pool/granules.h"
#include "pool/pending.h"
#include "pool/pool.h"
#include "tree/charges.h"
#include "tree/leaf_gate.h"
#include "tree/tree.h"

namespace coppice {

struct Counters {
  std::uint64_t requests = 0;              // reads and writes of heads
  std::uint64_t checksum_errors = 0;       // reads refused with EIO
  std::uint64_t checksums_recomputed = 0;  // in suspect granules, after a power cut
  std::uint64_t reads_verified_again = 0;  // raced with a write
};

struct Parts {
  Scheduler& scheduler;
  Pool& pool;
  Allocator& allocator;
  ChecksumPages& checksums;
  Granules& granules;
  PendingBlocks& pending;
  Journal& journal;
  LeafMap& map;
  Tree& tree;
  Counters& counters;
  AsyncMutex& growing;     // held while a slab is added
  WaitQueue& space_freed;  // woken when blocks became free
  LeafGate& gate;          // before publishing
  Bases& bases;            // below the trees' roots
  Charges& charges;        // what disks with a quota have taken
  DirtyLimit& dirty;       // before a write
  // The epochs in which a head could write in place when the power went: only blocks born in them may be
  // taken as they stand, and only in suspect granules.
  const std::set<Epoch>& suspect_epochs;
  // Returns when a checkpoint that began after the call is durable.
  std::function<Task<Result<>>()> checkpoint;
  // A deleted node's space is still on its way back: waiting may help a full pool.
  std::function<bool()> reclaim_under_way;
  // The copy of the metadata gives its space to a writer that finds none. False if it had none.
  std::function<Task<Result<bool>>()> give_up_copy;
  // The pool is full: gives up something that waits to be removed. False: there is nothing.
  std::function<Task<bool>()> make_room;
  // Written once per lost block: disk, byte offset and physical address.
  std::function<void(const char* what, std::uint64_t offset_bytes, PhysicalBlock address)> report;
  std::uint64_t out_of_space = 0;  // writers for whom there are no blocks, whatever they wait for

  [[nodiscard]] bool anyone_wants_space() const { return out_of_space != 0 || !space_freed.empty(); }
};

}  // namespace coppice
