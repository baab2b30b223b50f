// Holds, ends of snapshots and the trash: the control program's verbs, and what must be true of them after a
// crash.
#include <fmt/format.h>

#include <algorithm>

#include "session.h"

namespace coppice::sim {

namespace {

constexpr std::size_t kMostDisks = 6;
constexpr std::int64_t kHourMs = 3'600'000;
constexpr std::int64_t kDayMs = 24 * kHourMs;
constexpr const char* kTag = "tag";

bool has_expired(const SnapshotModel& snapshot, std::int64_t now_ms) {
  return snapshot.expires_ms != 0 && snapshot.expires_ms <= now_ms && snapshot.holds.empty();
}

}  // namespace

Spec Session::pick_snapshot(Rng& rng) const {
  std::vector<Spec> all;
  for (const auto& [name, disk] : shared_.oracle.disks) {
    for (const auto& [snapshot, model] : disk->snapshots) all.push_back({name, snapshot});
  }
  return all.empty() ? Spec{} : all[rng.below(all.size())];
}

// Those that are held are released, so that some are and most are not.
Task<void> Session::verb_hold(Rng& rng) {
  const Spec spec = pick_snapshot(rng);
  if (spec.disk.empty()) co_return;
  SnapshotModel& model = shared_.oracle.disks[spec.disk]->snapshots[spec.snapshot];
  const bool held = !model.holds.empty();
  PendingVerb& verb = shared_.pending;
  verb = {};
  verb.specs = {spec};
  verb.name = kTag;
  verb.kind = PendingVerb::Kind::kHold;
  Outcome<> done;
  if (held) {
    auto released = co_await process_.store->release(spec, "");
    if (!released) done = std::unexpected(released.error());
  } else {
    done = co_await process_.store->hold(spec, kTag);
  }
  conclude(done.has_value());
  if (!done) {
    failed_rightly(done.error(), "hold");
    co_return;
  }
  if (held) model.holds.clear();
  if (!held) model.holds.insert(kTag);
}

Task<void> Session::verb_expiry(Rng& rng) {
  const Spec spec = pick_snapshot(rng);
  if (spec.disk.empty()) co_return;
  PendingVerb& verb = shared_.pending;
  verb = {};
  verb.specs = {spec};
  verb.time_ms =
      rng.once_in(4) ? 0 : shared_.machine.wall_ms + static_cast<std::int64_t>(rng.below(48)) * kHourMs;
  verb.kind = PendingVerb::Kind::kExpiry;
  auto done = co_await process_.store->set_expiry(spec, verb.time_ms);
  conclude(done.has_value());
  if (done) {
    shared_.oracle.disks[spec.disk]->snapshots[spec.snapshot].expires_ms = verb.time_ms;
  } else {
    failed_rightly(done.error(), "expiry");
  }
}

Task<void> Session::verb_policies(Rng& rng) {
  // Often the hour is still the one in which a run was cut short.
  if (!rng.once_in(3)) shared_.machine.wall_ms += static_cast<std::int64_t>(rng.below(20)) * kHourMs;
  co_await run_policies();
}

Task<void> Session::run_policies() {
  PendingVerb& verb = shared_.pending;
  verb = {};
  verb.since = shared_.oracle.now();
  verb.kind = PendingVerb::Kind::kPolicies;
  std::vector<DiskModel*> watched;
  for (const auto& [name, disk] : shared_.oracle.disks) watched.push_back(disk.get());
  for (DiskModel* disk : watched) ++disk->watchers;
  auto done = co_await process_.store->run_policies();
  capture_scheduled();
  // Of one disk that fails a run only tells, and memory is ahead of what is durable then: what has happened
  // is seen behind the crash.
  if (fault()) co_return conclude(false);
  for (DiskModel* disk : watched) --disk->watchers;
  if (done) {
    co_await settle_scheduled(true);
    co_await settle_policies();
    if (shared_.violation.empty()) co_await check_trash();
  }
  conclude(done.has_value());
  if (!done) failed_rightly(done.error(), "policies");
}

// What had had its time may be gone. That nothing else is, check_names() tells.
Task<void> Session::settle_policies() {
  const std::int64_t now = shared_.machine.wall_ms;
  for (auto& [name, disk] : shared_.oracle.disks) {
    std::vector<std::string> gone;
    for (const auto& [snapshot, model] : disk->snapshots) {
      const bool there = co_await exists({name, snapshot});
      if (!there && has_expired(model, now)) gone.push_back(snapshot);
      if (!there && !has_expired(model, now))
        shared_.violate(fmt::format("{}@{} is gone before its time", name, snapshot));
    }
    for (const std::string& snapshot : gone) disk->snapshots.erase(snapshot);
  }
  std::vector<std::string> gone;
  for (const auto& [name, disk] : shared_.oracle.trash) {
    const bool there = co_await in_trash(name);
    if (!there && disk->removed_ms + kDayMs <= now) gone.push_back(name);
  }
  for (const std::string& name : gone) shared_.oracle.trash.erase(name);
}

Task<void> Session::verb_trash(Rng& rng) {
  const std::string name = pick_disk(rng);
  if (name.empty() || shared_.oracle.disks.size() < 2) co_return;
  co_await pause(name);
  PendingVerb& verb = shared_.pending;
  verb = {};
  verb.specs = {{name, ""}};
  verb.time_ms = shared_.machine.wall_ms;
  verb.kind = PendingVerb::Kind::kTrash;
  auto done = co_await process_.store->trash(verb.specs, true);
  conclude(done.has_value());
  if (done) {
    if (shared_.oracle.disks[name]->held())
      shared_.violate("a snapshot of " + name + " was held, and it is removed");
    shared_.oracle.to_trash(name, verb.time_ms);
    co_return;
  }
  failed_rightly(done.error(), "trash");
  co_await resume(name);
}

Task<void> Session::verb_undelete(Rng& rng) {
  auto& trash = shared_.oracle.trash;
  if (trash.empty() || shared_.oracle.disks.size() >= kMostDisks) co_return;
  const std::string name =
      std::next(trash.begin(), static_cast<std::ptrdiff_t>(rng.below(trash.size())))->first;
  PendingVerb& verb = shared_.pending;
  verb = {};
  verb.specs = {{name, ""}};
  verb.name = rng.once_in(2) ? name : "u" + std::to_string(++shared_.names);
  verb.kind = PendingVerb::Kind::kUndelete;
  auto done = co_await process_.store->undelete(name, verb.name);
  conclude(done.has_value());
  if (done) {
    DiskModel& disk = shared_.oracle.from_trash(name, verb.name);
    co_await learn_head(disk);
    start_clients(disk.name);
    co_return;
  }
  const bool taken = shared_.machine.purged.contains(name) && done.error().kind == ErrorKind::kNotFound;
  if (taken) {
    trash.erase(name);
  } else {
    failed_rightly(done.error(), "undelete");
  }
}

Task<bool> Session::in_trash(std::string name) {
  auto all = co_await process_.store->trashed();
  if (!all) {
    if (!fault()) shared_.violate("the trash: " + all.error().message);
    co_return true;
  }
  co_return std::ranges::any_of(*all, [&](const TrashInfo& info) { return info.disk == name; });
}

Task<void> Session::settle_trash(PendingVerb& verb) {
  const std::string name = verb.specs[0].disk;
  const bool trashed = co_await in_trash(name);
  if (verb.kind == PendingVerb::Kind::kTrash) {
    const bool there = co_await exists({name, ""});
    if (!there && (trashed || shared_.machine.purged.contains(name)))
      shared_.oracle.to_trash(name, verb.time_ms);
    if (there && trashed) shared_.violate(name + " is in the trash, and is not");
  } else {
    const bool there = co_await exists({verb.name, ""});
    if (there && trashed) shared_.violate(verb.name + " came back, and is in the trash");
    if (there) shared_.oracle.from_trash(name, verb.name);
  }
}

// Exactly what was put there, but for what a full pool has taken.
Task<void> Session::check_trash() {
  auto all = co_await process_.store->trashed();
  if (!all) {
    if (!fault()) shared_.violate("the trash: " + all.error().message);
    co_return;
  }
  std::set<std::string> found;
  for (const TrashInfo& info : *all) {
    found.insert(info.disk);
    const auto model = shared_.oracle.trash.find(info.disk);
    if (model == shared_.oracle.trash.end()) {
      shared_.violate(info.disk + " is in the trash, and should not be");
    } else if (model->second->removed_ms != info.removed_unix_ms ||
               model->second->snapshots.size() != info.snapshots ||
               model->second->size_bytes != info.size_bytes) {
      shared_.violate(info.disk + " is in the trash, but not as it was put there");
    }
  }
  std::erase_if(shared_.oracle.trash, [&](const auto& entry) {
    return !found.contains(entry.first) && shared_.machine.purged.contains(entry.first);
  });
  for (const auto& [name, disk] : shared_.oracle.trash) {
    if (!found.contains(name)) shared_.violate(name + " is gone from the trash before its time");
  }
}

void Session::check_policies(const NodeInfo& node, const SnapshotModel& model) {
  const std::set<std::string> holds(node.holds.begin(), node.holds.end());
  if (holds != model.holds || node.expires_unix_ms != model.expires_ms)
    shared_.violate(
        fmt::format("{}@{}: what keeps it, or ends it, is not what was said", node.disk, node.snapshot));
}

}  // namespace coppice::sim
