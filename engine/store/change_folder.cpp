#include "store/change_folder.h"

#include <algorithm>
#include <utility>

#include "base/mutation.h"
#include "map/leaf_entry.h"
#include "map/leaf_reader.h"
#include "tree/change_cursor.h"

namespace coppice {

namespace {

constexpr std::size_t kEpochsAtOnce = 256;
constexpr std::size_t kMasksAtOnce = 2048;
constexpr View kAllBranches{{~std::uint64_t{0}}, kForever};

}  // namespace

void ChangeFolder::take_left() {
  for (const View& point : parts_.tree.take_left_points()) left_.push_back({point, checkpointer_.begun()});
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
  auto folded = co_await checkpointer_.edit([this] { return fold_some(); });
  if (!folded) co_return std::unexpected(folded.error());
  co_return true;
}

// Epochs with masks that are no point.
Task<Result<>> ChangeFolder::look() {
  const View from = *looked_up_to_;
  auto found = co_await in_background(
      parts_.scheduler, [&] { return read_changed_epochs(meta_, from, kAllBranches, kEpochsAtOnce); });
  if (!found) co_return std::unexpected(found.error());
  for (const View& each : *found) {
    const View point{each.branch, each.epoch};
    if (parts_.tree.point_at_or_behind(point) != each.epoch) left_.push_back({point, checkpointer_.begun()});
  }
  looked_up_to_.reset();
  if (found->size() == kEpochsAtOnce) looked_up_to_ = View{found->back().branch, found->back().epoch.next()};
  co_return Result<>{};
}

Task<Result<ChangeFolder::Plan>> ChangeFolder::make_plan(View left) {
  const Tree& tree = parts_.tree;
  if (!tree.branches().contains(left.branch)) co_return Plan{};
  auto end = tree.point_at_or_behind(left);
  if (end && mutated(Mutation::kChangesFoldedFar))
    end = tree.point_at_or_behind({left.branch, end->next()}).value_or(*end);
  const Epoch growing = tree.branch(left.branch).current;
  const View from{left.branch, tree.point_before(left).next()};
  const View up_to{left.branch, end.value_or(kForever)};
  auto found = co_await in_background(parts_.scheduler,
                                      [&] { return read_changed_epochs(meta_, from, up_to, SIZE_MAX); });
  if (!found) co_return std::unexpected(found.error());
  Plan plan;
  for (const View& each : *found) plan.from.push_back(each.epoch);
  if (!end) co_return plan;
  std::erase(plan.from, growing);
  if (plan.from.empty()) co_return plan;
  plan.into = plan.from.front();
  plan.from.erase(plan.from.begin());
  if (mutated(Mutation::kChangesFoldedAnyhow)) std::ranges::reverse(plan.from);
  co_return plan;
}

// With no batch on its way to the map: a mask that comes to the epoch between the read and the write would be
// lost.
Task<Result<MetaBatch>> ChangeFolder::fold_some() {
  MetaBatch batch;
  if (parts_.map.changes_held()) co_return batch;
  const BranchId branch = left_.front().point.branch;
  if (!plan_) {
    auto made = co_await make_plan(left_.front().point);
    if (!made) co_return std::unexpected(made.error());
    plan_ = std::move(*made);
  }
  if (plan_->from.empty()) {
    plan_.reset();
    left_.pop_front();
    co_return batch;
  }
  const Epoch epoch = plan_->from.back();
  const ChangeQuery query{branch, Epoch{epoch.value - 1}, epoch, plan_->next, kLastLeaf, kMasksAtOnce};
  auto masks = co_await in_background(parts_.scheduler, [&] { return read_changes(meta_, query); });
  if (!masks) co_return std::unexpected(masks.error());
  for (const LeafMap::Change& each : *masks) {
    batch.erase(Family::kChange, encode_key(ChangeKey{branch, epoch, each.leaf}));
    if (plan_->into)
      batch.merge_or(Family::kChange, encode_key(ChangeKey{branch, *plan_->into, each.leaf}),
                     encode_mask(each.mask));
  }
  if (masks->size() == kMasksAtOnce) {
    plan_->next = masks->back().leaf.next();
  } else {
    plan_->from.pop_back();
    plan_->next = LeafIndex{0};
  }
  co_return batch;
}

}  // namespace coppice
