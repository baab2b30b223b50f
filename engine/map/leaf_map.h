// LeafMap: where the blocks of every branch stand, at every epoch. A cache of versions over the MetaStore.
//
// A *version* is the fully resolved leaf of a branch as of an epoch: it holds from its own epoch up to the
// next version's. Lookup at (branch, epoch) finds the newest version at or below the epoch on the branch,
// else goes on in the parent at the fork epoch, else the leaf is empty. Invariants: a version that is dirty
// (newer than what the MetaStore has) is in memory, and so is what makes it the newest or not. Clean versions
// are evicted beyond the limit, those not used lately first; pinned ones never. Only the branch's current
// epoch is edited, except in redo. A branch is forked from (parent, epoch) only when no write of that or an
// older epoch is in flight there: what a child inherits never changes. A background read sees the MetaStore
// at some moment after its start; all that was collected or edited since then stays in memory until the read
// is back, so laying memory over what was read gives the present. Threads: the store's scheduler; MetaStore
// calls run in the background.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "coppice/result.h"
#include "coppice/scheduler.h"
#include "coppice/task.h"
#include "layout/keys.h"
#include "layout/leaf.h"
#include "map/meta_store.h"

namespace coppice {

// What the map needs to know of the tree: where a branch comes from.
class BranchParents {
 public:
  struct Parent {
    BranchId branch;  // 0: none
    Epoch fork_epoch;
  };
  virtual ~BranchParents() = default;
  [[nodiscard]] virtual Parent parent_of(BranchId branch) const = 0;
};

// A point of the tree: an epoch of a branch, to look from.
struct View {
  BranchId branch;
  Epoch epoch;
  auto operator<=>(const View&) const = default;
};

// One version in memory. Stays where it is while pinned.
struct CachedLeaf {
  [[no_unique_address]] Leaf leaf;  // the flags stand in its last bytes
  bool inherited = false;  // resolved from an ancestor branch (or empty): not a version of this branch yet
  bool dirty = false;      // newer than what the MetaStore has
  std::uint32_t pins = 0;
  BranchId branch;  // whose cache entry this is
  LeafIndex index;
  Epoch version;  // epoch of the version; for inherited ones 0
  // Where the leaf was found: for inherited ones on an ancestor, or {0,0}: nowhere, the leaf is empty.
  BranchId origin_branch;
  Epoch origin_version;
};

class LeafMap {
 public:
  LeafMap(Scheduler& scheduler, MetaStore& meta, const BranchParents& parents, std::size_t limit_bytes);
  ~LeafMap();

  // The leaf as seen from `view`, pinned, if it is in memory. Null: use load().
  CachedLeaf* find(View view, LeafIndex leaf);
  // Brings it into memory, pinned. One load per leaf at a time; others wait for it.
  Task<Result<CachedLeaf*>> load(View view, LeafIndex leaf);
  void unpin(CachedLeaf* leaf);

  // The version to edit for writes of `epoch` (the branch's current one, or redo's): `from` itself if it is
  // that version, else a new dirty one that starts as a copy of it. `from` is what find() or load() gave for
  // (branch, epoch) and stays pinned; the result is valid until the next suspension. Marks it dirty.
  // Also records the change mask of (branch, epoch, leaf).
  CachedLeaf* edit(CachedLeaf* from, Epoch epoch, std::uint64_t changed_mask);

  // Reclaim: blocks of `mask` of the version become holes; all bits: the version is deleted. Works whether or
  // not it is in memory (a version not in memory must be loaded first unless it is deleted whole).
  Task<Result<>> punch_version(LeafKey version, std::uint64_t mask);
  // The version is deleted: nobody sees it any more.
  void erase_version(LeafKey version);
  // Forgets everything of a branch that nobody can see any more; DeleteRange at the next checkpoint.
  void drop_branch(BranchId branch);

  // Leaves that exist in [from, to) as seen from `view`, in order: those for which some version on the way to
  // the root is there. At most `max`; fewer means that the range is done. In memory or not. The leaves are
  // copies with where they were found.
  struct Found {
    LeafIndex index;
    Leaf leaf;
    BranchId origin_branch;
    Epoch origin_version;
  };
  Task<Result<std::vector<Found>>> scan(View view, LeafIndex from, LeafIndex to, std::size_t max);

  // Change masks of a branch, epochs in (after, up_to], leaves in [from, to), or'ed over the epochs, in order
  // of leaves. In memory or not.
  struct Change {
    LeafIndex leaf;
    std::uint64_t mask = 0;
  };
  Task<Result<std::vector<Change>>> changes(BranchId branch, Epoch after, Epoch up_to, LeafIndex from,
                                            LeafIndex to, std::size_t max);
  // While somebody holds them, no mask becomes another epoch's (store/change_folder.h): who asks for changes
  // between the same points several times.
  void hold_changes();
  void release_changes();
  [[nodiscard]] bool changes_held() const;
  // Brings those leaves into memory in few visits to the store, for load() to find them there one by one:
  // each visit costs two switches of threads. Not pinned; what can't be read is told by load().
  Task<void> prefetch(View view, std::span<const Change> leaves);

  // Checkpoint: moves up to `max_bytes` of dirty state (versions, deletions, change masks) into a batch and
  // counts it as clean. If the batch can't be written, the store stops. While a collected batch is not yet
  // written (until collected_written()) what it deletes or supersedes is answered from memory.
  // begin_collect() starts a round; collect_dirty() is false when nothing was left of what was dirty at its
  // start. What got dirty since may wait for the next round, and versions of `next_epoch` and later do: so a
  // round ends however fast the writers are, and however many snapshots come meanwhile.
  void begin_collect(Epoch next_epoch);
  bool collect_dirty(MetaBatch& into, std::size_t max_bytes);
  // What was deleted - versions, branches - before the round began. To be written in one batch with the new
  // start of redo, when all that collect_dirty() gave is written: redo from the old start still finds what
  // newer versions were copied from, redo from the new one no longer needs it. True: there is more to collect
  // into the same batch; what is edited in between is not in it.
  bool collect_deleted(MetaBatch& into, std::size_t max_entries = SIZE_MAX);
  // Lets go of what every read from now on will see in the store, and of no more than so many entries. True:
  // more can go, at the next call.
  bool collected_written(std::size_t max_entries = SIZE_MAX);
  [[nodiscard]] std::size_t dirty_bytes() const;
  [[nodiscard]] std::size_t resident_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace coppice
