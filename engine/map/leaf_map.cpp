#include "map/leaf_map.h"

#include <exception>
#include <utility>

#include "base/mutation.h"
#include "map/leaf_map_impl.h"

namespace coppice {

LeafMap::LeafMap(Scheduler& scheduler, MetaStore& meta, const BranchParents& parents, std::size_t limit_bytes)
    : impl_(std::make_unique<Impl>(scheduler, meta, parents, limit_bytes)) {}

LeafMap::~LeafMap() = default;

CachedLeaf* LeafMap::find(View view, LeafIndex leaf) {
  Entry* entry = impl_->cache.covering(view, leaf);
  if (entry == nullptr) return nullptr;
  ++entry->pins;
  entry->referenced = true;
  return entry;
}

void LeafMap::unpin(CachedLeaf* leaf) {
  auto* entry = static_cast<Entry*>(leaf);
  --entry->pins;
  if (entry->orphaned) return impl_->cache.release(entry);
  impl_->cache.recount(entry);
  impl_->recount_dirty(entry);
  if (impl_->cache.over_limit()) impl_->cache.evict_to_limit();
}

CachedLeaf* LeafMap::edit(CachedLeaf* from, Epoch epoch, std::uint64_t changed_mask) {
  // Another writer of this epoch may have made the version while this one held what was before.
  Entry* source = impl_->cache.covering({from->branch, epoch}, from->index);
  // Not there: `from` was not for this epoch, or its branch is dropped. To go on would lose writes.
  if (source == nullptr) std::terminate();
  Entry* version = source;
  if (source->inherited || source->version != epoch) version = impl_->make_version(source, epoch);
  impl_->mark_dirty(version, changed_mask);
  return version;
}

Entry* LeafMap::Impl::make_version(Entry* source, Epoch epoch) {
  const LeafKey key{source->branch, source->index, epoch};
  const Epoch reach = source->valid_to;
  source->valid_to = Epoch{epoch.value - 1};
  if (Entry* deleted = cache.exact(key); deleted != nullptr) {
    deleted->erased = false;
    erased.erase(key);
    deleted->leaf = source->leaf;
    deleted->valid_to = reach;
    cache.recount(deleted);
    return deleted;
  }
  auto made = cache.make();
  made->leaf = source->leaf;
  made->branch = key.branch;
  made->index = key.leaf;
  made->version = epoch;
  made->valid_to = reach;
  made->origin_branch = key.branch;
  made->origin_version = epoch;
  made->pins = 1;  // until it is dirty nothing else keeps it
  Entry* version = cache.insert(std::move(made));
  mark_dirty(version, 0);
  version->pins = 0;
  cache.evict_to_limit();
  return version;
}

void LeafMap::Impl::mark_dirty(Entry* entry, std::uint64_t changed_mask) {
  if (!entry->overlay) {
    cache.add_overlay(entry);
    entry->dirty = true;
    dirty.add(entry);
  }
  entry->overlay->pending_mask |= changed_mask;
  cache.recount(entry);
  if (entry->overlay->pending) return recount_dirty(entry);
  entry->overlay->pending = true;
  entry->overlay->counted_bytes = entry->bytes;
  dirty_bytes += entry->bytes;
}

// An entry of many runs may have begun as one without any.
void LeafMap::Impl::recount_dirty(Entry* entry) {
  if (!entry->overlay || !entry->overlay->pending) return;
  dirty_bytes += std::size_t{entry->bytes} - entry->overlay->counted_bytes;
  entry->overlay->counted_bytes = entry->bytes;
}

Task<Result<>> LeafMap::punch_version(LeafKey version, std::uint64_t mask) {
  if (mask == ~std::uint64_t{0}) {
    impl_->erase_version(version);
    co_return Result<>{};
  }
  auto loaded = co_await load({version.branch, version.version}, version.leaf);
  if (!loaded) co_return std::unexpected(loaded.error());
  auto* entry = static_cast<Entry*>(*loaded);
  // Redo may come to a version that a later step has deleted; then there is nothing to punch.
  if (entry->is_version() && entry->version == version.version) {
    impl_->keep_for_round(entry);
    entry->leaf.punch(mask);
    impl_->mark_dirty(entry, 0);
    impl_->leave_to_next_round(entry);
  }
  unpin(entry);
  co_return Result<>{};
}

void LeafMap::Impl::erase_version(const LeafKey& key) {
  Entry* entry = cache.exact(key);
  if (entry == nullptr) {
    auto made = cache.make();
    made->branch = made->origin_branch = key.branch;
    made->index = key.leaf;
    made->version = made->origin_version = made->valid_to = key.version;
    made->erased = true;
    made->pins = 1;  // until it is dirty nothing else keeps it
    entry = cache.insert(std::move(made));
    mark_dirty(entry, 0);
    entry->pins = 0;
  }
  if (!entry->erased) keep_for_round(entry);
  entry->erased = true;
  if (entry->pins == 0) entry->leaf = {};
  mark_dirty(entry, 0);
  leave_to_next_round(entry);
  erased.insert(key);
  ++erasures;
}

void LeafMap::erase_version(LeafKey version) {
  impl_->erase_version(version);
}

void LeafMap::drop_branch(BranchId branch) {
  impl_->keep_for_round(branch);
  for (Entry* entry : impl_->dirty.take_branch(branch)) {
    if (entry->overlay->pending) impl_->dirty_bytes -= entry->overlay->counted_bytes;
    if (entry->erased) impl_->erased.erase(entry->key());
    impl_->cache.remove(entry);
  }
  // Clean entries of the branch are never asked for again and leave by age.
  impl_->drops.push_back(branch);
}

std::size_t LeafMap::dirty_bytes() const {
  return impl_->dirty_bytes;
}
std::size_t LeafMap::resident_bytes() const {
  return impl_->cache.resident_bytes();
}

}  // namespace coppice
