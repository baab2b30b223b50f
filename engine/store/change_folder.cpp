#include "store/change_folder.h"

#include <utility>
#include <vector>

#include "base/mutation.h"
#include "map/leaf_reader.h"
#include "tree/change_cursor.h"

namespace coppice {

namespace {

constexpr std::size_t kEpochsAtOnce = 256;
constexpr std::size_t kMasksAtOnce = 512;

}  // namespace

void ChangeFolder::take_left() {
  for (const Tree::Point& point : parts_.tree.take_left_points())
    left_.push_back({point, checkpointer_.begun()});
}

Task<Result<bool>> ChangeFolder::step() {
  take_left();
  if (left_.empty() && looked_up_to_) {
    auto looked = co_await look();
    if (!looked) co_return std::unexpected(looked.error());
    co_return true;
  }
  const bool early = mutated(Mutation::kChangesFoldedEarly);
  const bool known = !left_.empty() && (early || checkpointer_.finished() > left_.front().checkpoint);
  if (!known || parts_.map.changes_held()) co_return false;
  auto folded = co_await checkpointer_.edit([this] { return fold_first(); });
  if (!folded) co_return std::unexpected(folded.error());
  co_return true;
}

// Epochs with masks that are no point. That of a head is one, and grows: all are asked for one by one.
Task<Result<>> ChangeFolder::look() {
  const View from = *looked_up_to_;
  auto found = co_await in_background(parts_.scheduler,
                                      [&] { return read_changed_epochs(meta_, from, kEpochsAtOnce); });
  if (!found) co_return std::unexpected(found.error());
  for (const View& each : *found) {
    const Tree::Point point{each.branch, each.epoch};
    if (parts_.tree.point_at_or_behind(point) != each.epoch) left_.push_back({point, checkpointer_.begun()});
  }
  looked_up_to_.reset();
  if (found->size() == kEpochsAtOnce) looked_up_to_ = View{found->back().branch, found->back().epoch.next()};
  co_return Result<>{};
}

namespace {

// The first masks behind one point of a branch and up to where another one was.
struct First {
  Epoch epoch;
  std::vector<LeafMap::Change> masks;
};
Result<First> read_first(MetaStore& meta, BranchId branch, Epoch behind, Epoch up_to) {
  First first;
  auto epochs = read_changed_epochs(meta, {branch, behind.next()}, 1);
  if (!epochs) return std::unexpected(epochs.error());
  if (epochs->empty() || epochs->front().branch != branch || epochs->front().epoch > up_to) return first;
  first.epoch = epochs->front().epoch;
  auto masks = read_changes(
      meta, {branch, Epoch{first.epoch.value - 1}, first.epoch, LeafIndex{0}, kLastLeaf, kMasksAtOnce});
  if (!masks) return std::unexpected(masks.error());
  first.masks = std::move(*masks);
  return first;
}

}  // namespace

// With no batch on its way to the map: a mask that comes to the epoch between the read and the write would be
// lost.
Task<Result<MetaBatch>> ChangeFolder::fold_first() {
  MetaBatch batch;
  if (parts_.map.changes_held()) co_return batch;
  const Tree& tree = parts_.tree;
  const Tree::Point left = left_.front().point;
  auto into = tree.point_at_or_behind(left);
  if (into == left.epoch || !tree.branches().contains(left.branch)) {
    left_.pop_front();
    co_return batch;
  }
  if (into && mutated(Mutation::kChangesFoldedFar))
    into = tree.point_at_or_behind({left.branch, into->next()});
  const bool any = mutated(Mutation::kChangesFoldedAnyhow);
  const Epoch behind = any ? Epoch{left.epoch.value - 1} : tree.point_before(left);
  auto first = co_await in_background(
      parts_.scheduler, [&] { return read_first(meta_, left.branch, behind, left.epoch); });
  if (!first) co_return std::unexpected(first.error());
  for (const LeafMap::Change& each : first->masks) {
    batch.erase(Family::kChange, encode_key(ChangeKey{left.branch, first->epoch, each.leaf}));
    if (into)
      batch.merge_or(Family::kChange, encode_key(ChangeKey{left.branch, *into, each.leaf}),
                     encode_mask(each.mask));
  }
  if (first->masks.empty()) left_.pop_front();
  co_return batch;
}

}  // namespace coppice
