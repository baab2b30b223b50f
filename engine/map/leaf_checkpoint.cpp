#include <algorithm>
#include <array>
#include <iterator>
#include <string>
#include <utility>

#include "base/mutation.h"
#include "map/leaf_map_impl.h"

namespace coppice {

namespace {

constexpr DirtyIndex::Region kBehindAll{BranchId{kForever.value}, kForever.value, kForever};

}  // namespace

void LeafMap::begin_collect(Epoch next_epoch) {
  Impl& map = *impl_;
  ++map.round;
  map.collecting = true;
  map.cursor = mutated(Mutation::kOldestFirst) ? DirtyIndex::Region{} : kBehindAll;
  map.round_end = next_epoch;
  map.round_drops.insert(map.round_drops.end(), map.drops.begin(), map.drops.end());
  map.drops.clear();
  map.round_erased.assign(map.erased.begin(), map.erased.end());
}

// The youngest branch first, and of a leaf in it the youngest version: nothing that others were made from is
// written without them (docs/durability.md, rule 58).
bool LeafMap::collect_dirty(MetaBatch& into, std::size_t max_bytes) {
  Impl& map = *impl_;
  const std::size_t before = into.bytes();
  const auto end = map.dirty.regions().end();
  for (auto at = map.next_region(); map.collecting && at != end; at = map.next_region()) {
    if (into.bytes() >= max_bytes) return true;
    // A region whole: what writers touch meanwhile is not come back to.
    map.cursor = at->first;
    if (at->first.epoch >= map.round_end) {
      map.cursor.epoch = map.round_end;
      continue;
    }
    for (Entry* entry : at->second.entries) {
      if (!entry->overlay->pending || entry->overlay->punched_in == map.round) continue;
      // Deleted before the round began: that is written at its end, and redo from there will not know any
      // more what it had changed.
      if (entry->erased) {
        map.collect_changes(entry, into);
      } else {
        map.collect_entry(entry, into);
      }
    }
  }
  // What gets dirty from now on belongs to the next round, which begins when this one has said false.
  map.collecting = false;
  for (const auto& operation : map.kept) into.add(operation);
  map.kept.clear();
  map.collected.insert(map.collected.end(), map.kept_entries.begin(), map.kept_entries.end());
  map.kept_entries.clear();
  return into.bytes() != before;
}

DirtyIndex::Regions::const_iterator LeafMap::Impl::next_region() const {
  const auto& regions = dirty.regions();
  if (mutated(Mutation::kOldestFirst)) return regions.upper_bound(cursor);
  const auto at = regions.lower_bound(cursor);
  return at == regions.begin() ? regions.end() : std::prev(at);
}

// The punch or deletion is behind the new start of redo; what the version was made of may be before it, and
// what others are made of it by records in between is not of this round.
void LeafMap::Impl::keep_for_round(Entry* entry) {
  if (!collecting || !entry->overlay || !entry->overlay->pending || entry->erased) return;
  Overlay& overlay = *entry->overlay;
  const bool to_come = overlay.region->key < cursor && entry->version < round_end;
  if (!to_come || overlay.punched_in == round || mutated(Mutation::kPunchedInRound)) return;
  collect_leaf(entry, kept);
  move_changes(entry, kept);
  ++overlay.batches;
  kept_entries.push_back(entry);
}

void LeafMap::Impl::keep_for_round(BranchId branch) {
  const auto& regions = dirty.regions();
  for (auto at = regions.lower_bound({branch, 0, Epoch{}}); at != regions.end(); ++at) {
    if (at->first.branch != branch) break;
    for (Entry* entry : at->second.entries) keep_for_round(entry);
  }
}

void LeafMap::Impl::leave_to_next_round(Entry* entry) const {
  if (collecting && !mutated(Mutation::kPunchedInRound)) entry->overlay->punched_in = round;
}

bool LeafMap::collect_deleted(MetaBatch& into, std::size_t max_entries) {
  std::vector<LeafKey>& keys = impl_->round_erased;
  for (; !keys.empty(); keys.pop_back()) {
    if (max_entries-- == 0) return true;
    Entry* entry = impl_->cache.exact(keys.back());
    // Written again since, or gone with its branch.
    if (entry == nullptr || !entry->erased || !entry->overlay || !entry->overlay->pending) continue;
    impl_->collect_entry(entry, into);
  }
  for (const BranchId branch : std::exchange(impl_->round_drops, {})) {
    into.erase_range(Family::kLeaf, encode_key(LeafKey{branch, LeafIndex{}, kForever}),
                     encode_key(LeafKey{branch.next(), LeafIndex{}, kForever}));
    into.erase_range(Family::kChange, encode_key(ChangeKey{branch, Epoch{}, LeafIndex{}}),
                     encode_key(ChangeKey{branch.next(), Epoch{}, LeafIndex{}}));
  }
  return false;
}

void LeafMap::Impl::collect_entry(Entry* entry, MetaBatch& into) {
  Overlay& overlay = *entry->overlay;
  if (entry->erased) {
    into.erase(Family::kLeaf, encode_key(entry->key()));
  } else {
    collect_leaf(entry, into);
  }
  collect_changes(entry, into);
  overlay.pending = false;
  dirty_bytes -= overlay.counted_bytes;
  cache.recount(entry);
}

void LeafMap::Impl::collect_leaf(const Entry* entry, MetaBatch& into) const {
  std::array<std::byte, Leaf::kMostEncodedBytes> room;
  const auto encoded = entry->leaf.encode(room);
  into.put(Family::kLeaf, encode_key(entry->key()),
           {reinterpret_cast<const char*>(encoded.data()), encoded.size()});
}

void LeafMap::Impl::collect_changes(Entry* entry, MetaBatch& into) {
  ++entry->overlay->batches;
  collected.push_back(entry);
  move_changes(entry, into);
}

void LeafMap::Impl::move_changes(Entry* entry, MetaBatch& into) {
  Overlay& overlay = *entry->overlay;
  if (overlay.pending_mask == 0) return;
  into.merge_or(Family::kChange, encode_key(ChangeKey{entry->branch, entry->version, entry->index}),
                encode_mask(overlay.pending_mask));
  overlay.collected_mask |= std::exchange(overlay.pending_mask, 0);
}

bool LeafMap::collected_written(std::size_t max_entries) {
  if (!impl_->collected.empty())
    impl_->written.push_back({impl_->next_ticket, std::exchange(impl_->collected, {})});
  return impl_->settle(max_entries);
}

// A store that stopped leaves batches unwritten; what only they hold goes with them.
LeafMap::Impl::~Impl() {
  open_reads.clear();
  collected.insert(collected.end(), kept_entries.begin(), kept_entries.end());
  written.push_back({next_ticket, std::move(collected)});
  settle(SIZE_MAX);
}

bool LeafMap::Impl::settle(std::size_t max_entries) {
  while (!written.empty() && (open_reads.empty() || *open_reads.begin() >= written.front().ticket)) {
    std::vector<Entry*>& entries = written.front().entries;
    for (; !entries.empty(); entries.pop_back()) {
      if (max_entries-- == 0) return true;
      settle_entry(entries.back());
    }
    written.pop_front();
    cache.evict_to_limit();
  }
  return false;
}

void LeafMap::Impl::settle_entry(Entry* entry) {
  Overlay& overlay = *entry->overlay;
  if (--overlay.batches != 0) return;
  overlay.collected_mask = 0;
  if (entry->orphaned) return cache.release(entry);
  if (overlay.pending) return;
  dirty.remove(entry);
  cache.drop_overlay(entry);
  entry->dirty = false;
  if (entry->erased) {
    erased.erase(entry->key());
    return cache.remove(entry);
  }
  cache.recount(entry);
}

}  // namespace coppice
