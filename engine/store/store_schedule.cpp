// Snapshots that are taken and removed by themselves.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/mutation.h"
#include "store/retention.h"
#include "store/store_impl.h"
#include "tree/fate.h"

namespace coppice {

namespace {

// Names stay short, and a slip of the hand is told from a wish.
constexpr std::uint64_t kMostKept = 10'000;

Schedule rules_of(const ScheduleValue& value) {
  return {value.hourly, value.daily, value.weekly, value.monthly};
}

std::vector<std::string> names_of(const Kept& kept) {
  std::vector<std::string> names;
  if (kept.hourly) names.emplace_back("hourly");
  if (kept.daily) names.emplace_back("daily");
  if (kept.weekly) names.emplace_back("weekly");
  if (kept.monthly) names.emplace_back("monthly");
  if (kept.future) names.emplace_back("future");
  return names;
}

}  // namespace

// Named after the stretch that it stands for; when it was taken is told beside it.
std::string StoreImpl::scheduled_name(DiskId disk, const Schedule& rules, std::int64_t now_ms) {
  const std::int64_t start = period_start(finest_period(rules).value_or(Period::kHour), now_ms);
  const std::string base = fmt::format("auto-{:%Y-%m-%dT%H:%M}Z", fmt::gmtime(start / 1000));
  std::string name = base;
  for (int i = 2; engine_->tree().snapshot_name_taken(disk, name); ++i) name = fmt::format("{}-{}", base, i);
  return name;
}

std::vector<NodeId> StoreImpl::scheduled_nodes(DiskId disk) const {
  const Tree& tree = engine_->tree();
  std::vector<NodeId> nodes = tree.nodes_of(disk);
  std::erase_if(nodes, [&](NodeId id) { return !tree.node(id)->value.scheduled; });
  std::ranges::sort(nodes, {},
                    [&](NodeId id) { return std::pair(tree.node(id)->value.created_unix_ms, id); });
  return nodes;
}

std::vector<std::int64_t> StoreImpl::times_of(const std::vector<NodeId>& nodes) const {
  std::vector<std::int64_t> times;
  for (const NodeId id : nodes) times.push_back(engine_->tree().node(id)->value.created_unix_ms);
  return times;
}

Task<Outcome<>> StoreImpl::set_schedule(std::string disk, Schedule rules) {
  return exclusively(do_set_schedule(std::move(disk), rules));
}

Task<Outcome<>> StoreImpl::do_set_schedule(std::string name, Schedule rules) {
  auto disk = require_disk(name);
  if (!disk) co_return std::unexpected(disk.error());
  if (std::max({rules.hourly, rules.daily, rules.weekly, rules.monthly}) > kMostKept) {
    co_return refuse(
        ErrorKind::kInvalid,
        fmt::format("disk {}: a schedule keeps at most {} snapshots of a kind", name, kMostKept));
  }
  const Tree& tree = engine_->tree();
  const DiskId id = (*disk)->id;
  const ScheduleValue* known = tree.schedule(id);
  if (!rules.on() && known == nullptr) {
    co_return refuse(ErrorKind::kNotFound, fmt::format("disk {} has no schedule: nothing to end", name));
  }
  const std::int64_t last = known == nullptr ? 0 : known->last_unix_ms;
  const auto plan = [&] {
    if (!rules.on()) return tree.plan_no_schedule(id);
    return tree.plan_schedule(id, {rules.hourly, rules.daily, rules.weekly, rules.monthly, last});
  };
  auto done = co_await change(plan, "disk " + name);
  co_return done;
}

Task<Outcome<ScheduleInfo>> StoreImpl::schedule(std::string disk, std::optional<Schedule> rules) {
  co_await verbs_.lock();  // nodes stay while they are counted
  co_await trash_lock_.lock();
  auto info = co_await do_schedule(std::move(disk), rules);
  trash_lock_.unlock();
  verbs_.unlock();
  co_return info;
}

Task<Outcome<ScheduleInfo>> StoreImpl::do_schedule(std::string name, std::optional<Schedule> rules) {
  auto disk = require_disk(name);
  if (!disk) co_return std::unexpected(disk.error());
  Tree& tree = engine_->tree();
  const ScheduleValue* known = tree.schedule((*disk)->id);
  ScheduleInfo info;
  info.rules = rules ? *rules : known == nullptr ? Schedule{} : rules_of(*known);
  if (!info.rules.on()) co_return info;
  const std::int64_t now = wall_now();
  const std::vector<NodeId> nodes = scheduled_nodes((*disk)->id);
  const std::vector<std::int64_t> times = times_of(nodes);
  const bool due = is_due(times, info.rules, known == nullptr ? 0 : known->last_unix_ms, now);
  info.next_unix_ms = due ? now : next_period(*finest_period(info.rules), now);
  const std::vector<Kept> kept = retention(times, info.rules, now);
  std::vector<NodeId> leaving;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    info.snapshots.push_back({{name, tree.node(nodes[i])->value.name}, times[i], names_of(kept[i])});
    if (!kept[i].any()) leaving.push_back(nodes[i]);
  }
  auto blocks = co_await exclusive_blocks(tree, engine_->map(), std::move(leaving));
  if (!blocks) co_return refuse(blocks.error(), "disk " + name);
  info.frees_bytes = *blocks * kBlockBytes;
  co_return info;
}

// Of several disks one that fails does not stop the others.
Task<Outcome<>> StoreImpl::run_schedules() {
  std::vector<DiskId> disks;
  for (const auto& [id, schedule] : engine_->tree().schedules()) disks.push_back(id);
  for (const DiskId id : disks) {
    co_await verbs_.lock();
    const TreeDisk* disk = engine_->tree().disk(id);
    const std::string name = disk == nullptr ? "" : disk->value.name;
    auto done = co_await run_schedule(id);
    verbs_.unlock();
    if (!done) tell_once("the schedule of disk " + name + ": " + done.error().message);
  }
  co_return Outcome<>{};
}

Task<Outcome<>> StoreImpl::run_schedule(DiskId id) {
  const Tree& tree = engine_->tree();
  const ScheduleValue* schedule = tree.schedule(id);
  if (tree.disk(id) == nullptr || tree.trashed(id) || schedule == nullptr) co_return Outcome<>{};
  ScheduleValue value = *schedule;
  const std::int64_t now = wall_now();
  if (is_due(times_of(scheduled_nodes(id)), rules_of(value), value.last_unix_ms, now)) {
    std::vector<Spec> specs{{tree.disk(id)->value.name, scheduled_name(id, rules_of(value), now)}};
    if (mutated(Mutation::kScheduleNotedFirst)) {
      value.last_unix_ms = now;
      const auto first = [&] { return tree.plan_schedule(id, value); };
      (void)co_await change(first, specs.front().text());
    }
    auto taken = co_await do_snapshot(specs, SnapshotOptions{}, true);
    if (!taken) co_return taken;
    // Behind the snapshot: a crash in between takes no second one, since the first stands in its stretch.
    value.last_unix_ms = now;
    const auto plan = [&] { return tree.plan_schedule(id, value); };
    auto noted = co_await change(plan, specs.front().text());
    if (!noted) co_return noted;
  }
  auto pruned = co_await prune(id, rules_of(value));
  co_return pruned;
}

Task<Outcome<>> StoreImpl::prune(DiskId id, Schedule rules) {
  const Tree& tree = engine_->tree();
  const std::vector<NodeId> nodes = scheduled_nodes(id);
  const std::vector<Kept> kept = retention(times_of(nodes), rules, wall_now());
  const std::string disk = tree.disk(id)->value.name;
  std::vector<NodeId> leaving;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (kept[i].any()) continue;
    const TreeNode& node = *tree.node(nodes[i]);
    const Spec spec{disk, node.value.name};
    auto free = check_removal(node, spec, {}, false);
    if (free) {
      leaving.push_back(nodes[i]);
    } else {
      tell_once(spec.text() + " is not kept by its schedule any more, and stays: " + free.error().message);
    }
  }
  if (leaving.empty()) co_return Outcome<>{};
  auto done = co_await kill(std::move(leaving), "disk " + disk);
  if (done) housekeeper_.wake_reclaimer();
  co_return done;
}

}  // namespace coppice
