// LeafMap's insides, shared by its parts: lookup, load, scan, checkpoint.
//
// Thread: the store's scheduler.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <tuple>
#include <vector>

#include "map/dirty_index.h"
#include "map/leaf_cache.h"
#include "map/leaf_reader.h"

namespace coppice {

struct LeafMap::Impl {
  Impl(Scheduler& on, MetaStore& store, const BranchParents& tree, std::size_t limit_bytes)
      : scheduler(on), meta(store), parents(tree), cache(limit_bytes) {}
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Scheduler& scheduler;
  MetaStore& meta;
  const BranchParents& parents;
  LeafCache cache;
  DirtyIndex dirty;
  std::size_t dirty_bytes = 0;
  std::set<LeafKey> erased;    // the entries that are
  std::uint64_t erasures = 0;  // counts deleted versions

  // --- lookup
  void mark_dirty(Entry* entry, std::uint64_t changed_mask);
  void recount_dirty(Entry* entry);
  Entry* make_version(Entry* source, Epoch epoch);
  void erase_version(const LeafKey& key);

  // --- load: one at a time per view and leaf
  struct Load {
    explicit Load(Scheduler& on) : done(on) {}
    WaitQueue done;
    std::optional<Error> error;
  };
  using LoadKey = std::tuple<BranchId, Epoch, LeafIndex>;
  std::map<LoadKey, std::shared_ptr<Load>> loads;
  unsigned looked_up_at_once = 0;

  // Where to look for a leaf: the part of the lineage that memory does not answer, and what answers behind
  // it.
  struct Plan {
    View view;
    LeafIndex leaf;
    Lineage unknown;
    std::vector<LeafKey> erased;
    std::optional<View> base;  // an entry in memory covers this view
  };
  [[nodiscard]] Plan plan_load(View view, LeafIndex leaf, bool passing_deleted) const;
  struct Wanted {
    Plan plan;
    Entry* base = nullptr;  // what covers plan.base, pinned
    Result<LeafRead> read = {};
  };
  [[nodiscard]] std::vector<Wanted> plan_loads(View view, std::span<const Change> leaves) const;
  Task<void> visit(View view, std::span<const Change> leaves);
  [[nodiscard]] std::optional<LeafRead> read_in_memory(const Plan& plan);
  Task<Result<Entry*>> read_and_install(View view, LeafIndex leaf, bool passing_deleted);
  Entry* install(const Plan& plan, LeafRead& read);
  Entry* install_version(const Plan& plan, const LeafRead& read, Entry* present, StoredLeaf* stored);
  Entry* install_inherited(const Plan& plan, const LeafRead& read, const Leaf& leaf, BranchId origin,
                           Epoch origin_version);
  [[nodiscard]] Epoch reach_of(const Plan& plan, const LeafRead& read, Epoch version) const;

  // --- scan
  [[nodiscard]] std::vector<LeafKey> erased_in(const Lineage& lineage, LeafIndex from, LeafIndex to) const;
  [[nodiscard]] bool any_erased(const Lineage& lineage, const std::vector<StoredLeaf>& rows) const;
  void lay_over(const Lineage& lineage, LeafIndex from, LeafIndex to, std::size_t max,
                std::vector<StoredLeaf>& rows) const;

  std::size_t change_holds = 0;

  // --- checkpoint
  // What the end of a read lets go of; the rest waits for the next one, or the next batch.
  static constexpr std::size_t kSettledByRead = 256;
  // A background read on its way. While it lives, what it may have missed stays in memory.
  class Reading {
   public:
    explicit Reading(Impl& map) : map_(map), ticket_(map.next_ticket++) { map_.open_reads.insert(ticket_); }
    ~Reading() {
      map_.open_reads.erase(ticket_);
      map_.settle(kSettledByRead);
    }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;

   private:
    Impl& map_;
    std::uint64_t ticket_;
  };
  struct Written {
    std::uint64_t ticket = 0;  // reads below may have missed it
    std::vector<Entry*> entries;
  };
  void collect_entry(Entry* entry, MetaBatch& into);
  // The end: none is left of the round.
  [[nodiscard]] DirtyIndex::Regions::const_iterator next_region() const;
  void collect_leaf(const Entry* entry, MetaBatch& into) const;
  void collect_changes(Entry* entry, MetaBatch& into);
  void move_changes(Entry* entry, MetaBatch& into);
  // Before it is punched or deleted, or goes with its branch.
  void keep_for_round(Entry* entry);
  void keep_for_round(BranchId branch);
  // Behind that.
  void leave_to_next_round(Entry* entry) const;
  // True: the number was too small for all that can go.
  bool settle(std::size_t max_entries);
  void settle_entry(Entry* entry);

  std::vector<BranchId> drops;  // not yet collected
  // Deleted before the round began; collected at its end.
  std::vector<BranchId> round_drops;
  std::vector<LeafKey> round_erased;
  std::uint64_t round = 0;     // those that have begun
  bool collecting = false;     // the last of them goes on
  DirtyIndex::Region cursor;   // the region that it came to last; it goes downwards
  Epoch round_end = kForever;  // what is of this epoch or later is not of the round
  // What was punched or deleted since it began, before it came there: as it was before that.
  MetaBatch kept;
  std::vector<Entry*> kept_entries;
  std::vector<Entry*> collected;  // in batches not yet written
  std::deque<Written> written;
  std::uint64_t next_ticket = 0;
  std::set<std::uint64_t> open_reads;
};

}  // namespace coppice
