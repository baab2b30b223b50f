#include "map/leaf_reader.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <span>
#include <string_view>
#include <utility>

namespace coppice {

namespace {

constexpr Epoch kLast{std::numeric_limits<std::uint64_t>::max()};

Result<Leaf> decode_leaf(std::string_view value) {
  return Leaf::decode(std::as_bytes(std::span(value.data(), value.size())));
}

// Goes over the versions of one branch as of an epoch, leaf by leaf.
class VersionWalk {
 public:
  VersionWalk(MetaIterator& iterator, View view, const std::vector<LeafKey>& erased)
      : iterator_(iterator), view_(view), erased_(erased) {}

  // The newest version at or below the view's epoch of the first leaf in [from, to) that has one. Nothing:
  // there is none. The iterator stands on it.
  Result<std::optional<LeafKey>> first(LeafIndex from, LeafIndex to) {
    iterator_.seek(encode_key(LeafKey{view_.branch, from, view_.epoch}));
    return settle(to);
  }
  // The same behind the leaf that was found last.
  Result<std::optional<LeafKey>> behind(LeafKey last, LeafIndex to) {
    // Most leaves have one version: a step is cheaper than a seek.
    iterator_.next();
    auto key = current();
    if (key && *key && (*key)->branch == last.branch && (*key)->leaf == last.leaf) {
      return first(last.leaf.next(), to);
    }
    return settle(to);
  }

 private:
  Result<std::optional<LeafKey>> current() {
    if (!iterator_.valid()) {
      if (auto status = iterator_.status(); !status) return std::unexpected(status.error());
      return std::nullopt;
    }
    auto key = decode_leaf_key(iterator_.key());
    if (!key) return fail(ErrorKind::kCorrupt, 0, "a key of the leaf map does not decode");
    return key;
  }

  Result<std::optional<LeafKey>> settle(LeafIndex to) {
    for (;;) {
      auto key = current();
      if (!key || !*key) return key;
      if ((*key)->branch != view_.branch || (*key)->leaf >= to) return std::nullopt;
      if ((*key)->version > view_.epoch) {
        iterator_.seek(encode_key(LeafKey{view_.branch, (*key)->leaf, view_.epoch}));
      } else if (std::ranges::binary_search(erased_, **key)) {
        iterator_.next();
      } else {
        return key;
      }
    }
  }

  MetaIterator& iterator_;
  View view_;
  const std::vector<LeafKey>& erased_;
};

Result<StoredLeaf> stored_at(MetaIterator& iterator, std::size_t level, const LeafKey& key) {
  auto leaf = decode_leaf(iterator.value());
  if (!leaf) return std::unexpected(leaf.error());
  return StoredLeaf{level, key.leaf, key.version, std::move(*leaf)};
}

// The leaves of one level that `have` lacks, at most `max`.
Result<std::vector<StoredLeaf>> read_level(MetaIterator& iterator, VersionWalk& walk, std::size_t level,
                                           LeafIndex from, LeafIndex to, std::size_t max,
                                           const std::vector<StoredLeaf>& have) {
  std::vector<StoredLeaf> rows;
  auto known = have.begin();
  auto key = walk.first(from, to);
  while (key && *key && rows.size() < max) {
    while (known != have.end() && known->index < (*key)->leaf) ++known;
    if (known == have.end() || known->index != (*key)->leaf) {
      auto row = stored_at(iterator, level, **key);
      if (!row) return std::unexpected(row.error());
      rows.push_back(std::move(*row));
    }
    key = walk.behind(**key, to);
  }
  if (!key) return std::unexpected(key.error());
  return rows;
}

}  // namespace

Lineage lineage_of(View view, const BranchParents& parents) {
  Lineage lineage{view};
  for (auto parent = parents.parent_of(view.branch); parent.branch != BranchId{};
       parent = parents.parent_of(parent.branch)) {
    lineage.push_back({parent.branch, parent.fork_epoch});
  }
  return lineage;
}

Result<LeafRead> read_leaf(MetaIterator& leaves, const Lineage& lineage, LeafIndex leaf,
                           const std::vector<LeafKey>& erased) {
  LeafRead read;
  for (std::size_t level = 0; level < lineage.size(); ++level) {
    View view = lineage[level];
    // On the view's own branch start at the newest: it tells how far the answer reaches.
    if (level == 0) view.epoch = kLast;
    VersionWalk newest(leaves, view, erased);
    auto key = newest.first(leaf, leaf.next());
    if (key && *key && (*key)->version > lineage[level].epoch) {
      read.newer_exists = true;
      VersionWalk older(leaves, lineage[level], erased);
      key = older.first(leaf, leaf.next());
    }
    if (!key) return std::unexpected(key.error());
    if (!*key) continue;
    auto found = stored_at(leaves, level, **key);
    if (!found) return std::unexpected(found.error());
    read.found = std::move(*found);
    return read;
  }
  return read;
}

Result<std::vector<StoredLeaf>> read_leaves(MetaStore& meta, const Lineage& lineage, LeafIndex from,
                                            LeafIndex to, std::size_t max,
                                            const std::vector<LeafKey>& erased) {
  std::vector<StoredLeaf> rows;
  auto iterator = meta.iterate(Family::kLeaf, Reach::kAll);
  for (std::size_t level = 0; level < lineage.size(); ++level) {
    VersionWalk walk(*iterator, lineage[level], erased);
    auto more = read_level(*iterator, walk, level, from, to, max, rows);
    if (!more) return std::unexpected(more.error());
    std::vector<StoredLeaf> merged;
    merged.reserve(rows.size() + more->size());
    std::merge(std::move_iterator(rows.begin()), std::move_iterator(rows.end()),
               std::move_iterator(more->begin()), std::move_iterator(more->end()), std::back_inserter(merged),
               [](const StoredLeaf& a, const StoredLeaf& b) { return a.index < b.index; });
    rows = std::move(merged);
    if (rows.size() >= max) {
      rows.resize(max);
      to = rows.back().index.next();
    }
  }
  return rows;
}

}  // namespace coppice
