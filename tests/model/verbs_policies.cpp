// What keeps snapshots, and what ends them: holds, their time, schedules.
#include <algorithm>

#include "world.h"

namespace coppice::test {

namespace {

constexpr std::int64_t kHourMs = 3'600'000;
constexpr std::int64_t kDayMs = 24 * kHourMs;

std::int64_t stretch_of(const Schedule& rules, std::int64_t ms) {
  return ms / (rules.hourly != 0 ? kHourMs : kDayMs);
}

}  // namespace

void World::hold() {
  const int node = some_snapshot();
  if (node == 0) return;
  const Spec spec = nodes_.at(node).spec();
  const std::string tag = one_in(2) ? "backup" : "replica";
  const bool held = nodes_.at(node).holds.contains(tag);
  note((held ? "release " : "hold ") + spec.text() + " " + tag);
  if (held) {
    require_refused(run(store().hold(spec, tag)), ErrorKind::kExists, "a second hold");
    change(store().release(spec, tag), "release " + spec.text(),
           [=, this] { nodes_.at(node).holds.erase(tag); });
  } else {
    require_refused(run(store().release(spec, tag)), ErrorKind::kNotFound, "release of what is not held");
    change(store().hold(spec, tag), "hold " + spec.text(), [=, this] { nodes_.at(node).holds.insert(tag); });
  }
}

void World::expire() {
  const int node = some_snapshot();
  if (node == 0) return;
  const Spec spec = nodes_.at(node).spec();
  const std::int64_t at = one_in(4) ? 0 : host_.wall_ms + static_cast<std::int64_t>(below(48)) * kHourMs;
  note("expire " + spec.text() + " " + std::to_string(at));
  change(store().set_expiry(spec, at), "expire " + spec.text(),
         [=, this] { nodes_.at(node).expires_ms = at; });
}

void World::schedule() {
  const std::string disk = some_disk();
  Schedule rules;
  if (!one_in(4)) rules = {.hourly = below(4), .daily = below(3)};
  note("schedule " + disk + " " + std::to_string(rules.hourly) + " " + std::to_string(rules.daily));
  if (!rules.on() && !disks_.at(disk).schedule.on())
    return require_refused(run(store().set_schedule(disk, rules)), ErrorKind::kNotFound, "no schedule");
  change(store().set_schedule(disk, rules), "schedule " + disk, [=, this] {
    ModelDisk& model = disks_.at(disk);
    model.schedule = rules;
    // With the schedule goes what it remembers.
    if (!rules.on()) model.taken_ms = model.taken_perhaps_ms = 0;
  });
}

// Oldest first.
std::vector<int> World::scheduled_of(const std::string& disk) const {
  std::vector<int> found;
  for (const int id : nodes_of(disk))
    if (nodes_.at(id).scheduled_ms != 0) found.push_back(id);
  std::ranges::sort(found, {}, [this](int id) { return std::pair(nodes_.at(id).scheduled_ms, id); });
  return found;
}

// Whether the stretch of now has none yet.
bool World::due(const std::string& disk, std::int64_t taken_ms) const {
  const Schedule& rules = disks_.at(disk).schedule;
  if (!rules.on()) return false;
  const std::int64_t now = stretch_of(rules, host_.wall_ms);
  return stretch_of(rules, taken_ms) != now && std::ranges::none_of(scheduled_of(disk), [&](int id) {
           return stretch_of(rules, nodes_.at(id).scheduled_ms) == now;
         });
}

// The newest of each of the last so many hours, and days, that have one.
std::set<int> World::kept_by(const Schedule& rules, const std::vector<int>& snapshots) const {
  std::set<int> kept;
  for (const auto& [count, length_ms] : {std::pair(rules.hourly, kHourMs), std::pair(rules.daily, kDayMs)}) {
    std::set<std::int64_t> stretches;
    for (auto at = snapshots.rbegin(); at != snapshots.rend(); ++at) {
      const std::int64_t stretch = nodes_.at(*at).scheduled_ms / length_ms;
      if (stretches.contains(stretch) || stretches.size() == count) continue;
      stretches.insert(stretch);
      kept.insert(*at);
    }
  }
  return kept;
}

void World::run_policies() {
  // Often the hour is still the one in which a run was cut short.
  if (!one_in(4))
    host_.wall_ms +=
        static_cast<std::int64_t>(below(20)) * kHourMs + static_cast<std::int64_t>(below(kHourMs));
  note("policies at " + std::to_string(host_.wall_ms));
  pending_.settle = [this] { settle_policies(false); };
  require(run(store().run_policies()), "policies");
  settle_policies(true);
  pending_ = {};
}

// Schedules take and remove, then goes what had its time, then what was long in the trash. Of a run that was
// cut short some of it is done, and nothing else.
void World::settle_policies(bool acknowledged) {
  auto tree = run(store().tree(std::nullopt));
  require(tree, "tree");
  std::vector<std::string> names;
  for (const auto& [disk, model] : disks_) names.push_back(disk);
  for (const std::string& disk : names) settle_schedule(disk, *tree, acknowledged);
  std::set<int> expired;
  for (const auto& [id, node] : nodes_) {
    if (!node.snapshot.empty() && node.expires_ms != 0 && node.expires_ms <= host_.wall_ms)
      expired.insert(id);
  }
  settle_gone(std::move(expired), *tree, acknowledged);
  settle_old_trash(acknowledged);
}

void World::settle_schedule(const std::string& disk, const std::vector<NodeInfo>& tree, bool acknowledged) {
  ModelDisk& model = disks_.at(disk);
  const bool may = due(disk, model.taken_ms) || due(disk, model.taken_perhaps_ms);
  const bool must = acknowledged && due(disk, model.taken_ms) && due(disk, model.taken_perhaps_ms);
  std::vector<const NodeInfo*> made;
  for (const NodeInfo& info : tree) {
    const bool known =
        std::ranges::any_of(nodes_of(disk), [&](int id) { return nodes_.at(id).snapshot == info.snapshot; });
    if (info.disk == disk && info.kind == NodeInfo::Kind::kSnapshot && !known) made.push_back(&info);
  }
  expect(made.size() <= (may ? 1 : 0), "the schedule of " + disk + " took more than was due");
  expect(!must || made.size() == 1, "the schedule of " + disk + " took none");
  for (const NodeInfo* info : made) {
    expect(info->scheduled && info->created_unix_ms == host_.wall_ms && info->snapshot.starts_with("auto-"),
           disk + "@" + info->snapshot + " is none of a schedule's");
    record_snapshot(disk, info->snapshot);
    nodes_.at(nodes_.at(model.head).parent).scheduled_ms = host_.wall_ms;
    model.taken_perhaps_ms = host_.wall_ms;
    if (acknowledged) model.taken_ms = host_.wall_ms;
  }
  if (!model.schedule.on()) return;
  const std::vector<int> all = scheduled_of(disk);
  const std::set<int> kept = kept_by(model.schedule, all);
  std::set<int> leaving(all.begin(), all.end());
  std::erase_if(leaving, [&](int id) { return kept.contains(id); });
  settle_gone(std::move(leaving), tree, acknowledged);
}

// Of these goes whatever nothing needs.
void World::settle_gone(std::set<int> may_go, const std::vector<NodeInfo>& tree, bool acknowledged) {
  std::erase_if(may_go, [&](int id) { return !nodes_.at(id).holds.empty() || cloned_away(id, {}); });
  for (const int id : may_go) {
    const Spec spec = nodes_.at(id).spec();
    const bool there = std::ranges::any_of(tree, [&](const NodeInfo& info) {
      return info.kind == NodeInfo::Kind::kSnapshot && Spec{info.disk, info.snapshot} == spec;
    });
    expect(!there || !acknowledged, spec.text() + " has had its time, and stays");
    if (!there) drop_node(id);
  }
}

}  // namespace coppice::test
