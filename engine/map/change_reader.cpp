#include <algorithm>
#include <optional>
#include <utility>

#include "map/leaf_reader.h"

namespace coppice {

namespace {

Result<std::optional<ChangeKey>> current(MetaIterator& iterator) {
  if (!iterator.valid()) {
    if (auto status = iterator.status(); !status) return std::unexpected(status.error());
    return std::nullopt;
  }
  auto key = decode_change_key(iterator.key());
  if (!key) return fail(ErrorKind::kCorrupt, 0, "a key of the change masks does not decode");
  return key;
}

// The masks of one epoch in [from, to), at most `max`. The iterator stands on the first of them.
Result<std::vector<LeafMap::Change>> read_epoch(MetaIterator& iterator, BranchId branch, Epoch epoch,
                                                LeafIndex to, std::size_t max) {
  std::vector<LeafMap::Change> rows;
  while (rows.size() < max) {
    auto key = current(iterator);
    if (!key) return std::unexpected(key.error());
    if (!*key || (*key)->branch != branch || (*key)->epoch != epoch || (*key)->leaf >= to) break;
    auto mask = decode_mask(iterator.value());
    if (!mask) return fail(ErrorKind::kCorrupt, 0, "a change mask does not decode");
    rows.push_back({(*key)->leaf, *mask});
    iterator.next();
  }
  return rows;
}

}  // namespace

void merge_changes(std::vector<LeafMap::Change>& into, const std::vector<LeafMap::Change>& more) {
  if (more.empty()) return;
  std::vector<LeafMap::Change> merged;
  merged.reserve(into.size() + more.size());
  auto left = into.begin();
  for (const auto& right : more) {
    while (left != into.end() && left->leaf < right.leaf) merged.push_back(*left++);
    merged.push_back(right);
    if (left != into.end() && left->leaf == right.leaf) merged.back().mask |= (left++)->mask;
  }
  merged.insert(merged.end(), left, into.end());
  into = std::move(merged);
}

Result<std::vector<LeafMap::Change>> read_changes(MetaStore& meta, const ChangeQuery& query) {
  std::vector<LeafMap::Change> found;
  LeafIndex to = query.to;
  auto iterator = meta.iterate(Family::kChange, Reach::kAll);
  for (Epoch epoch = query.after.next(); epoch <= query.up_to;) {
    iterator->seek(encode_key(ChangeKey{query.branch, epoch, query.from}));
    auto key = current(*iterator);
    if (!key) return std::unexpected(key.error());
    if (!*key || (*key)->branch != query.branch || (*key)->epoch > query.up_to) break;
    if ((*key)->epoch != epoch) {
      // On to the next epoch that wrote anything; its first leaf may lie before the range.
      epoch = (*key)->epoch;
      if ((*key)->leaf < query.from) continue;
    }
    auto rows = read_epoch(*iterator, query.branch, epoch, to, query.max);
    if (!rows) return std::unexpected(rows.error());
    merge_changes(found, *rows);
    if (found.size() >= query.max) {
      found.resize(query.max);
      to = found.back().leaf.next();
    }
    epoch = epoch.next();
  }
  return found;
}

Result<std::vector<View>> read_changed_epochs(MetaStore& meta, View from, View up_to, std::size_t max) {
  std::vector<View> found;
  auto iterator = meta.iterate(Family::kChange, Reach::kAll);
  while (found.size() < max) {
    iterator->seek(encode_key(ChangeKey{from.branch, from.epoch, LeafIndex{0}}));
    auto key = current(*iterator);
    if (!key) return std::unexpected(key.error());
    if (!*key) break;
    from = {(*key)->branch, (*key)->epoch};
    if (from > up_to) break;
    found.push_back(from);
    from.epoch = from.epoch.next();
  }
  return found;
}

}  // namespace coppice
