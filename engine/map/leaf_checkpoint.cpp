#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "map/leaf_map_impl.h"

namespace coppice {

void LeafMap::begin_collect() {
  Impl& map = *impl_;
  map.cursor = {};
  map.round_drops.insert(map.round_drops.end(), map.drops.begin(), map.drops.end());
  map.drops.clear();
  map.round_erased.assign(map.erased.begin(), map.erased.end());
}

bool LeafMap::collect_dirty(MetaBatch& into, std::size_t max_bytes) {
  const std::size_t before = into.bytes();
  const auto& regions = impl_->dirty.regions();
  auto at = regions.lower_bound(impl_->cursor);
  for (; at != regions.end(); ++at) {
    // A region whole: what writers touch meanwhile is not come back to.
    impl_->cursor = at->first;
    if (into.bytes() >= max_bytes) return true;
    for (Entry* entry : at->second.entries) {
      if (!entry->overlay->pending) continue;
      // Deleted since the round began: its deletion waits for the next one, but redo will not know any more
      // what it had changed.
      if (entry->erased) {
        impl_->collect_changes(entry, into);
      } else {
        impl_->collect_entry(entry, into);
      }
    }
  }
  // What gets dirty from now on belongs to the next round, which begins when this one has said false.
  const bool some = into.bytes() != before;
  constexpr DirtyIndex::Region kEnd{BranchId{kForever.value}, kForever.value, kForever};
  impl_->cursor = some ? kEnd : DirtyIndex::Region{};
  return some;
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
    std::array<std::byte, Leaf::kMostEncodedBytes> room;
    const auto encoded = entry->leaf.encode(room);
    into.put(Family::kLeaf, encode_key(entry->key()),
             {reinterpret_cast<const char*>(encoded.data()), encoded.size()});
  }
  collect_changes(entry, into);
  overlay.pending = false;
  dirty_bytes -= overlay.counted_bytes;
  cache.recount(entry);
}

void LeafMap::Impl::collect_changes(Entry* entry, MetaBatch& into) {
  Overlay& overlay = *entry->overlay;
  ++overlay.batches;
  collected.push_back(entry);
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
  entry->overlay.reset();
  entry->dirty = false;
  if (entry->erased) {
    erased.erase(entry->key());
    return cache.remove(entry);
  }
  cache.recount(entry);
}

}  // namespace coppice
