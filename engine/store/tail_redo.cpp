#include <algorithm>
#include <cerrno>
#include <optional>

#include "base/mutation.h"
#include "disk/leaf_pins.h"
#include "disk/publish.h"
#include "layout/tree_values.h"
#include "store/recovery.h"

namespace coppice {

Task<Result<>> TailRedo::apply(const Record& record) {
  if (const auto* map = std::get_if<MapRecord>(&record)) {
    auto applied = co_await apply_map(*map);
    co_return applied;
  }
  if (const auto* checksum = std::get_if<ChecksumRecord>(&record)) {
    auto applied = co_await apply_checksums(*checksum);
    co_return applied;
  }
  if (const auto* meta = std::get_if<MetaRecord>(&record)) co_return apply_edits(meta->edits);
  // A reclaim was staged behind a commit of all that it looked at.
  auto applied = co_await redo_.apply(record);
  co_return applied;
}

Task<Result<>> TailRedo::apply_map(const MapRecord& record) {
  ++redo_.applied_;
  redo_.tree_.note_epoch(record.epoch);
  const bool data = record.physical.value != 0;
  std::vector<bool> stands(record.count, true);
  std::uint64_t lost = 0;
  for (std::uint64_t i = 0; data && i < record.count; ++i) {
    stands[i] = proof_.fits(record.physical.next(i), record.checksums[i]);
    if (!stands[i]) ++lost;
  }
  lost_blocks_ += lost;
  if (lost != 0) lost_epochs_.insert(epoch_tag(record.epoch));
  if (lost != 0 || !lost_frees_.empty()) {
    auto settled = co_await settle_old(record, stands, lost == 0);
    if (!settled) co_return settled;
  }
  for (std::uint64_t i = 0; i < record.count;) {
    std::uint64_t end = i + 1;
    while (end < record.count && stands[end] == stands[i]) ++end;
    if (stands[i]) {
      auto mapped = co_await redo_.map_blocks(record, i, end - i);
      if (!mapped) co_return mapped;
    }
    i = end;
  }
  apply_superseded(record, stands);
  if (lost != 0) co_return Result<>{};
  co_return redo_.free(record.freed);
}

namespace {

bool contains(const std::vector<PhysicalRun>& runs, PhysicalBlock block) {
  return std::ranges::any_of(runs, [block](const PhysicalRun& run) {
    return run.first <= block && block.value < run.first.value + run.count;
  });
}

}  // namespace

// What stood at the record's blocks before it. A block that stands frees what it replaces, if the record says
// so or an earlier one of the same epoch did that was lost; a lost one leaves that to whoever comes next.
// Behind a snapshot nobody takes it over: the version that lost the write goes on with the block, and its
// nodes free it.
Task<Result<>> TailRedo::settle_old(const MapRecord& record, const std::vector<bool>& stands, bool whole) {
  const View view{record.branch, record.epoch};
  for (std::uint64_t i = 0; i < record.count; ++i) {
    const BlockIndex block = record.first.next(i);
    auto leaf = co_await redo_.map_.load(view, leaf_of(block));
    if (!leaf) co_return std::unexpected(leaf.error());
    const LeafRun old = (*leaf)->leaf.run_at(index_in_leaf(block));
    redo_.map_.unpin(*leaf);
    if (old.kind != LeafRun::Kind::kData) continue;
    if (record.physical.value != 0 && old.physical == record.physical.next(i)) continue;
    const bool frees = !whole && contains(record.freed, old.physical);
    if (!stands[i]) {
      if (frees) lost_frees_[old.physical.value] = record.epoch;
      continue;
    }
    if (mutated(Mutation::kLostFreesForgotten)) continue;
    const auto left = lost_frees_.find(old.physical.value);
    const bool inherited =
        left != lost_frees_.end() && (left->second == record.epoch || mutated(Mutation::kLostFreesAnywhere));
    if (inherited) lost_frees_.erase(left);
    if (!frees && !inherited) continue;
    auto freed = redo_.free({{old.physical, 1}});
    if (!freed) co_return freed;
  }
  co_return Result<>{};
}

// A version is left behind by the first block of the leaf that stands in the new epoch.
void TailRedo::apply_superseded(const MapRecord& record, const std::vector<bool>& stands) {
  for_each_leaf(record.first, record.count,
                [&](LeafIndex leaf, unsigned, unsigned part, std::uint64_t offset) {
                  auto& deletions = lost_deletions_[{leaf, record.epoch}];
                  for (const ReclaimedVersion& version : record.superseded) {
                    if (version.leaf == leaf)
                      deletions.push_back({version.branch, version.leaf, version.version});
                  }
                  const auto from = stands.begin() + static_cast<std::ptrdiff_t>(offset);
                  const bool any = std::find(from, from + part, true) != from + part;
                  if (any) {
                    for (const LeafKey& key : deletions) redo_.map_.erase_version(key);
                    deletions.clear();
                  }
                  if (deletions.empty()) lost_deletions_.erase({leaf, record.epoch});
                });
}

// The checksums go in as they are: where the content is another, the granule is suspect and the block is
// taken as it stands. What counts is whether the write was lost.
Task<Result<>> TailRedo::apply_checksums(const ChecksumRecord& record) {
  ++redo_.applied_;
  for (std::size_t i = 0; i < record.checksums.size(); ++i) {
    const std::uint64_t block = record.first.value + i;
    if (proof_.fits(PhysicalBlock{block}, record.checksums[i])) {
      unmatched_.erase(block);
    } else {
      unmatched_[block] = record.epoch_tag;
    }
  }
  auto applied = co_await redo_.apply_checksums(record.first, record.checksums);
  co_return applied;
}

bool TailRedo::lost_in(Epoch epoch) const {
  const std::uint32_t tag = epoch_tag(epoch);
  return lost_epochs_.contains(tag) ||
         std::ranges::any_of(unmatched_, [tag](const auto& entry) { return entry.second == tag; });
}

namespace {

// The node that the edit makes a snapshot of, where it is the dead node that a fork has made.
std::optional<NodeValue> named_by(const Tree& tree, const MetaEdit& edit) {
  const auto id = id_of_key(edit.key, "node/");
  if (edit.erase || !id) return std::nullopt;
  auto value = decode_node(edit.value);
  const TreeNode* node = tree.node(NodeId{*id});
  if (!value || value->state != NodeState::kSnapshot || node == nullptr) return std::nullopt;
  if (node->value.state != NodeState::kDead) return std::nullopt;
  return value;
}

}  // namespace

// A snapshot is named when all writes of its epoch are staged; without one of them it was not acknowledged
// either, and stays the dead node that its fork has made - all of a set, or none. Only the name is left out:
// an edit that carries it may be about something else, as where the end of a sweep above gives the node
// another parent.
Result<> TailRedo::apply_edits(std::vector<MetaEdit> edits) {
  ++redo_.applied_;
  const auto lost = [&](const MetaEdit& edit) {
    const auto value = named_by(redo_.tree_, edit);
    return value && (lost_in(value->epoch) || unnamed_.contains(edit.key));
  };
  if (std::ranges::any_of(edits, lost) && !mutated(Mutation::kSnapshotOverLost)) {
    for (MetaEdit& edit : edits) {
      const auto value = named_by(redo_.tree_, edit);
      if (!value) continue;
      unnamed_.insert(edit.key);
      edit.value = encode(killed(*value));
    }
    if (mutated(Mutation::kUnnamedEditLeftOut))
      std::erase_if(edits, [&](const MetaEdit& edit) { return unnamed_.contains(edit.key); });
  }
  return redo_.apply_edits(edits);
}

}  // namespace coppice
