#include <algorithm>
#include <iterator>
#include <utility>

#include "map/leaf_map_impl.h"

namespace coppice {

Task<Result<std::vector<LeafMap::Found>>> LeafMap::scan(View view, LeafIndex from, LeafIndex to,
                                                        std::size_t max) {
  const Lineage lineage = lineage_of(view, impl_->parents);
  std::vector<Found> found;
  for (;;) {
    const Impl::Reading reading(*impl_);
    const std::uint64_t erasures = impl_->erasures;
    const auto erased = impl_->erased_in(lineage, from, to);
    auto rows = co_await in_background(impl_->scheduler, [this, &lineage, &erased, from, to, max] {
      return read_leaves(impl_->meta, lineage, from, to, max, erased);
    });
    if (!rows) co_return std::unexpected(rows.error());
    // What was deleted meanwhile uncovers older versions that were not read.
    if (erasures != impl_->erasures && impl_->any_erased(lineage, *rows)) continue;
    impl_->lay_over(lineage, from, to, max, *rows);
    for (auto& row : *rows) {
      found.push_back({row.index, std::move(row.leaf), lineage[row.level].branch, row.version});
    }
    co_return found;
  }
}

std::vector<LeafKey> LeafMap::Impl::erased_in(const Lineage& lineage, LeafIndex from, LeafIndex to) const {
  std::vector<LeafKey> found;
  for (const View& view : lineage) {
    const auto end = erased.lower_bound({view.branch, to, Epoch{}});
    for (auto at = erased.lower_bound({view.branch, from, Epoch{}}); at != end; ++at) found.push_back(*at);
  }
  std::ranges::sort(found);
  return found;
}

bool LeafMap::Impl::any_erased(const Lineage& lineage, const std::vector<StoredLeaf>& rows) const {
  return std::ranges::any_of(rows, [&](const StoredLeaf& row) {
    return erased.contains({lineage[row.level].branch, row.index, row.version});
  });
}

namespace {

// The first `max` leaves of one level that are dirty in memory, each in its newest version.
std::vector<StoredLeaf> dirty_level(const DirtyIndex& dirty, View view, std::size_t level, LeafIndex from,
                                    LeafIndex to, std::size_t max) {
  std::vector<StoredLeaf> rows;
  const Entry* newest = nullptr;
  const auto add = [&] {
    if (newest != nullptr) rows.push_back({level, newest->index, newest->version, newest->leaf});
  };
  dirty.walk({view.branch, Epoch{}, view.epoch, from, to}, [&](const Entry* entry) {
    if (!entry->is_version()) return true;
    if (newest != nullptr && newest->index != entry->index) add();
    newest = entry;
    return rows.size() < max;
  });
  if (rows.size() < max) add();
  return rows;
}

// The nearer level wins, then the newer version, then memory over what was stored.
bool wins(const StoredLeaf& memory, const StoredLeaf& stored) {
  if (memory.level != stored.level) return memory.level < stored.level;
  return memory.version >= stored.version;
}

void merge_level(std::vector<StoredLeaf>& rows, std::vector<StoredLeaf>& memory) {
  std::vector<StoredLeaf> merged;
  merged.reserve(rows.size() + memory.size());
  auto row = rows.begin();
  for (auto& over : memory) {
    while (row != rows.end() && row->index < over.index) merged.push_back(std::move(*row++));
    if (row != rows.end() && row->index == over.index) {
      merged.push_back(std::move(wins(over, *row) ? over : *row));
      ++row;
    } else {
      merged.push_back(std::move(over));
    }
  }
  std::move(row, rows.end(), std::back_inserter(merged));
  rows = std::move(merged);
}

}  // namespace

void LeafMap::Impl::lay_over(const Lineage& lineage, LeafIndex from, LeafIndex to, std::size_t max,
                             std::vector<StoredLeaf>& rows) const {
  for (std::size_t level = 0; level < lineage.size(); ++level) {
    // Behind the last row of a full answer nothing is known of the store.
    if (rows.size() >= max) to = rows.back().index.next();
    auto memory = dirty_level(dirty, lineage[level], level, from, to, max);
    if (memory.empty()) continue;
    merge_level(rows, memory);
    if (rows.size() > max) rows.resize(max);
  }
}

void LeafMap::hold_changes() {
  ++impl_->change_holds;
}

void LeafMap::release_changes() {
  --impl_->change_holds;
}

bool LeafMap::changes_held() const {
  return impl_->change_holds != 0;
}

Task<Result<std::vector<LeafMap::Change>>> LeafMap::changes(BranchId branch, Epoch after, Epoch up_to,
                                                            LeafIndex from, LeafIndex to, std::size_t max) {
  const Impl::Reading reading(*impl_);
  const ChangeQuery query{branch, after, up_to, from, to, max};
  auto found =
      co_await in_background(impl_->scheduler, [this, &query] { return read_changes(impl_->meta, query); });
  if (!found) co_return found;
  if (found->size() >= max) to = found->back().leaf.next();
  std::vector<Change> memory;
  impl_->dirty.walk({branch, after, up_to, from, to}, [&](const Entry* entry) {
    const std::uint64_t mask = entry->overlay->pending_mask | entry->overlay->collected_mask;
    if (mask == 0) return true;
    if (!memory.empty() && memory.back().leaf == entry->index) {
      memory.back().mask |= mask;
      return true;
    }
    if (memory.size() == max) return false;
    memory.push_back({entry->index, mask});
    return true;
  });
  merge_changes(*found, memory);
  if (found->size() > max) found->resize(max);
  co_return found;
}

}  // namespace coppice
