// LeafCache: the entries in memory, by (branch, leaf), and which of them may leave.
//
// Invariant: an entry leaves only if it is clean, unpinned, and no older entry of its chain is pinned: a
// writer that holds an older version must find the newer one that another writer made of it. Thread: the
// store's scheduler.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/object_pool.h"
#include "map/leaf_entry.h"

namespace coppice {

class LeafCache {
 public:
  explicit LeafCache(std::size_t limit_bytes);
  ~LeafCache();
  LeafCache(const LeafCache&) = delete;
  LeafCache& operator=(const LeafCache&) = delete;

  // The entry that is known to answer for the view.
  [[nodiscard]] Entry* covering(View view, LeafIndex leaf) const;
  // The newest version of the branch itself in memory at or below the epoch, whether or not it is known to
  // reach up to it.
  [[nodiscard]] Entry* newest_version(View view, LeafIndex leaf) const;
  // The oldest version of the branch itself in memory that is newer than the view.
  [[nodiscard]] Entry* next_version(View view, LeafIndex leaf) const;
  // The entry of this version, erased or not.
  [[nodiscard]] Entry* exact(const LeafKey& key) const;
  [[nodiscard]] Entry* inherited(BranchId branch, LeafIndex leaf) const;

  using Made = ObjectPool<Entry>::Pointer;
  Made make() { return pool_.make(); }
  // Puts it in its chain; its version is not there yet.
  Entry* insert(Made entry);
  // Out of its chain. Freed when nothing holds it any more, see release().
  void remove(Entry* entry);
  // Frees an orphaned entry that nobody holds.
  void release(Entry* entry);
  // From one to the other it is not evicted. Of an entry that has none, and of one that has.
  void add_overlay(Entry* entry);
  void drop_overlay(Entry* entry);
  // Brings the memory count up to date with its runs.
  void recount(Entry* entry);
  void evict_to_limit();
  [[nodiscard]] std::size_t resident_bytes() const { return resident_bytes_; }
  [[nodiscard]] bool over_limit() const { return resident_bytes_ > limit_bytes_; }

 private:
  struct FreeSlots {
    std::size_t bytes = 0;
    void operator()(Entry** slots) const;
  };
  using Slots = std::unique_ptr<Entry*[], FreeSlots>;
  static Slots make_slots(std::size_t count);
  [[nodiscard]] std::size_t home(BranchId branch, LeafIndex leaf) const;
  [[nodiscard]] std::size_t following(std::size_t slot) const;                 // where probing goes on
  [[nodiscard]] std::size_t distance(std::size_t from, std::size_t to) const;  // in steps of that
  [[nodiscard]] std::size_t slot_of(BranchId branch,
                                    LeafIndex leaf) const;  // its slot, or the free one for it
  void grow();
  void free_slot(std::size_t slot);
  // Valid until an entry comes or goes. `only`: room for the link of one that stands alone.
  [[nodiscard]] std::span<const Link> chain(BranchId branch, LeafIndex leaf, Link& only) const;
  void add_to_chain(Entry*& slot, Entry* entry);
  void settle_chain(std::size_t slot, Chain& chain);
  void let_go(Entry* entry);
  bool evict_from(std::size_t slot);
  bool evict_from_chain(std::size_t slot, Chain& chain);

  ObjectPool<Entry> pool_;
  ObjectPool<Chain> chain_pool_;
  std::size_t slot_count_;
  // Open addressing; a slot points at the newest of a chain. Leaves that are neighbours on a disk have
  // neighbouring slots, a group for each 64: a look-up in a disk of few GiB then finds the slot in the
  // processor's cache, where slots all over a table made for the limit would each be a miss, and one of the
  // TLB. Probing goes to the same place in the next group, so that two groups in one place cost a step and
  // not a walk through both.
  Slots slots_;
  std::size_t chains_ = 0;
  std::size_t hand_ = 0;  // the clock's: the slot to be looked at next
  std::size_t resident_bytes_ = 0;
  std::size_t limit_bytes_;
};

}  // namespace coppice
