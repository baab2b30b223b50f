// Snapshots that a schedule takes and removes: one for each stretch of time, whenever the process dies, and
// none is gone that is still to be kept.
#include <fmt/format.h>

#include "session.h"
#include "store/retention.h"

namespace coppice::sim {

namespace {

std::vector<std::int64_t> times_of(const DiskModel& disk) {
  std::vector<std::int64_t> times;
  for (const auto& [name, snapshot] : disk.snapshots) {
    if (snapshot.scheduled_ms != 0) times.push_back(snapshot.scheduled_ms);
  }
  return times;
}

bool due(const DiskModel& disk, std::int64_t last_ms, std::int64_t now) {
  return disk.schedule.on() && is_due(times_of(disk), disk.schedule, last_ms, now);
}

}  // namespace

Task<void> Session::verb_schedule(Rng& rng) {
  const std::string name = pick_disk(rng);
  if (name.empty()) co_return;
  DiskModel& disk = *shared_.oracle.disks[name];
  Schedule rules;
  if (!rng.once_in(5)) rules = {.hourly = rng.between(1, 3), .daily = rng.below(2)};
  if (!rules.on() && !disk.schedule.on()) co_return;
  co_await set_schedule(disk, rules);
}

Task<void> Session::set_schedule(DiskModel& disk, Schedule rules) {
  PendingVerb& verb = shared_.pending;
  verb = {};
  verb.specs = {{disk.name, ""}};
  verb.schedule = rules;
  verb.kind = PendingVerb::Kind::kSchedule;
  auto done = co_await process_.store->set_schedule(disk.name, rules);
  conclude(done.has_value());
  if (done) note_schedule(disk, rules);
  if (!done) failed_rightly(done.error(), "schedule");
}

// With the schedule goes what it remembers.
void Session::note_schedule(DiskModel& disk, const Schedule& rules) {
  disk.schedule = rules;
  if (!rules.on()) disk.scheduled_last_ms = disk.scheduled_perhaps_ms = 0;
}

// What snapshots that are taken now may hold.
void Session::capture_scheduled() {
  PendingVerb& verb = shared_.pending;
  verb.scheduled.clear();
  for (const auto& [name, disk] : shared_.oracle.disks) {
    if (!disk->schedule.on()) continue;
    auto set = std::make_shared<SnapshotSet>();
    set->point = verb.since;
    verb.scheduled[name] = shared_.oracle.capture(*disk, std::move(set));
  }
}

// Behind a run of the schedules, or one that a crash has cut short.
Task<void> Session::settle_scheduled(bool acknowledged) {
  for (const auto& [name, disk] : shared_.oracle.disks) {
    if (!shared_.violation.empty()) co_return;
    auto nodes = co_await process_.store->tree(name);
    if (!nodes) co_return;
    settle_schedule(*disk, *nodes, acknowledged);
  }
}

void Session::settle_schedule(DiskModel& disk, const std::vector<NodeInfo>& nodes, bool acknowledged) {
  const std::int64_t now = shared_.machine.wall_ms;
  const bool was_due = due(disk, disk.scheduled_last_ms, now);
  const bool surely = was_due && due(disk, disk.scheduled_perhaps_ms, now);
  std::set<std::string> there;
  std::vector<const NodeInfo*> made;
  for (const NodeInfo& node : nodes) {
    if (node.disk != disk.name || node.snapshot.empty()) continue;
    there.insert(node.snapshot);
    const bool known = disk.snapshots.contains(node.snapshot) || disk.bookmarks.contains(node.snapshot);
    if (node.scheduled && !known) made.push_back(&node);
  }
  const auto captured = shared_.pending.scheduled.find(disk.name);
  if (made.size() > (was_due && captured != shared_.pending.scheduled.end() ? 1 : 0)) {
    shared_.violate(
        fmt::format("the schedule of {} has taken {} once more", disk.name, made.back()->snapshot));
    return;
  }
  const bool told = process_.notices.find("the schedule of disk " + disk.name + ":") != std::string::npos;
  if (acknowledged && surely && made.empty() && !told && !fault())
    shared_.violate("the schedule of " + disk.name + " has taken none, and says nothing");
  for (const NodeInfo* node : made) {
    SnapshotModel& model = disk.snapshots[node->snapshot] = std::move(captured->second);
    model.scheduled_ms = node->created_unix_ms;
    (acknowledged ? disk.scheduled_last_ms : disk.scheduled_perhaps_ms) = now;
  }
  const std::vector<std::int64_t> times = times_of(disk);
  const std::vector<Kept> kept = retention(times, disk.schedule, now);
  std::size_t at = 0;
  std::erase_if(disk.snapshots, [&](const auto& entry) {
    if (entry.second.scheduled_ms == 0) return false;
    const bool may_go = disk.schedule.on() && !kept[at++].any();
    return may_go && !there.contains(entry.first);
  });
}

}  // namespace coppice::sim
