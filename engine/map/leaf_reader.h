// What is read from the MetaStore in the background: one leaf, a stretch of leaves, change masks.
//
// Invariant: each function sees the store at one moment. They know nothing of what is in memory but the
// versions to be passed over because they are deleted.
// Thread: background. What is passed in outlives the call.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "coppice/result.h"
#include "map/leaf_map.h"
#include "map/meta_store.h"

namespace coppice {

// Where a view looks in turn: itself, its branch's parent at the fork, and so on to the root.
using Lineage = std::vector<View>;
Lineage lineage_of(View view, const BranchParents& parents);

// A version found at a level of the lineage.
struct StoredLeaf {
  std::size_t level = 0;
  LeafIndex index;
  Epoch version;
  Leaf leaf;
};

struct LeafRead {
  std::optional<StoredLeaf> found;
  bool newer_exists = false;  // on the view's own branch there is a version behind the view's epoch
};
// `erased`: sorted.
Result<LeafRead> read_leaf(MetaIterator& leaves, const Lineage& lineage, LeafIndex leaf,
                           const std::vector<LeafKey>& erased);

// The first `max` leaves in [from, to) that exist in the lineage.
Result<std::vector<StoredLeaf>> read_leaves(MetaStore& meta, const Lineage& lineage, LeafIndex from,
                                            LeafIndex to, std::size_t max,
                                            const std::vector<LeafKey>& erased);

struct ChangeQuery {
  BranchId branch;
  Epoch after;
  Epoch up_to;
  LeafIndex from;
  LeafIndex to;
  std::size_t max = 0;
};
Result<std::vector<LeafMap::Change>> read_changes(MetaStore& meta, const ChangeQuery& query);
// The epochs that have masks in [from, up_to], by branches, at most `max` of them.
Result<std::vector<View>> read_changed_epochs(MetaStore& meta, View from, View up_to, std::size_t max);
// Or's `more` into `into`; both in order of leaves.
void merge_changes(std::vector<LeafMap::Change>& into, const std::vector<LeafMap::Change>& more);

}  // namespace coppice
