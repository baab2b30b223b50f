// The control program of a session: one verb after the other, under the clients' load.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "session.h"

namespace coppice::sim {

namespace {

constexpr std::size_t kMostDisks = 4;
constexpr std::size_t kMostSnapshots = 6;

template <class Map>
std::string random_key(const Map& map, Rng& rng) {
  return std::next(map.begin(), static_cast<std::ptrdiff_t>(rng.below(map.size())))->first;
}

std::uint64_t random_size(Rng& rng) {
  const std::uint64_t blocks = rng.once_in(4) ? rng.between(97, 320) : rng.between(1, 96);
  return blocks * kBlockBytes + (rng.once_in(3) ? rng.below(8) * kSectorBytes : 0);
}

}  // namespace

// The verb under way has ended. One that failed because a device did may have happened all the same: the next
// life tells. Nothing is compared in this one any more, since memory may be ahead of what is durable.
void Session::conclude(bool done) {
  if (!done && shared_.machine.disk.faults.fired) {
    stopping_ = true;
    return;
  }
  shared_.pending.kind = PendingVerb::Kind::kNone;
}

// Whether a verb may fail so: the pool is full, something stands in its way, or a device was made to fail.
bool Session::failed_rightly(const Failure& failure, const std::string& verb) {
  if (failure.kind == ErrorKind::kNoSpace || failure.kind == ErrorKind::kBusy) return true;
  if (shared_.damage_allowed && shared_.machine.disk.faults.fired) return true;
  shared_.violate(verb + " failed: " + failure.message);
  return false;
}

std::string Session::pick_disk(Rng& rng) const {
  const auto& disks = shared_.oracle.disks;
  if (disks.empty()) return {};
  const std::string name = random_key(disks, rng);
  const auto open = open_.find(name);
  // Not while another verb's pause is being undone.
  return open == open_.end() || !open->second->device ? std::string() : name;
}

Task<void> Session::control(std::uint64_t seed) {
  Rng rng(seed);
  const std::uint64_t think = rng.once_in(2) ? 300 : 6000;
  co_await end_flattens();
  while (!stopping_ && shared_.violation.empty()) {
    co_await one_verb(rng);
    co_await sleep_for(process_.scheduler, std::chrono::microseconds(rng.between(1, think)));
  }
  --tasks_;
}

const Session::Verb& Session::choose_verb(Rng& rng) const {
  using S = Session;
  static constexpr std::array<Verb, 18> kVerbs = {{{4, "create", &S::verb_create},
                                                   {34, "snapshot", &S::verb_snapshot},
                                                   {18, "remove", &S::verb_remove_snapshots},
                                                   {7, "clone", &S::verb_clone},
                                                   {7, "rollback", &S::verb_rollback},
                                                   {3, "remove-disk", &S::verb_remove_disk},
                                                   {5, "trash", &S::verb_trash},
                                                   {5, "undelete", &S::verb_undelete},
                                                   {3, "hold", &S::verb_hold},
                                                   {2, "expiry", &S::verb_expiry},
                                                   {2, "policies", &S::verb_policies},
                                                   {2, "resize", &S::verb_resize},
                                                   {2, "schedule", &S::verb_schedule},
                                                   {2, "quota", &S::verb_quota},
                                                   {1, "flatten", &S::verb_flatten},
                                                   {1, "set-strict", &S::verb_set_policy},
                                                   {1, "diff", &S::verb_diff},
                                                   {1, "bookmark", &S::verb_bookmark}}};
  static constexpr Verb kAttach = {0, "attach", &S::verb_attach};
  if (shared_.oracle.disks.empty()) return kVerbs[0];
  if (!shared_.favour.empty() && rng.once_in(2)) {
    for (const Verb& verb : kVerbs)
      if (shared_.favour == verb.name) return verb;
  }
  std::uint64_t choice = rng.below(100);
  for (const Verb& verb : kVerbs) {
    if (choice < verb.percent) return shared_.attachments && verb.percent == 1 ? kAttach : verb;
    choice -= verb.percent;
  }
  std::abort();
}

Task<void> Session::one_verb(Rng& rng) {
  ++shared_.verbs;
  const Verb& verb = choose_verb(rng);
  const std::uint64_t id = ++requests_;
  under_way_[id] = verb.name;
  co_await (this->*verb.run)(rng);
  under_way_.erase(id);
}

Task<void> Session::verb_create(Rng& rng) {
  if (shared_.oracle.disks.size() >= kMostDisks) co_return;
  PendingVerb& verb = shared_.pending;
  verb = {};
  verb.name = "d" + std::to_string(++shared_.names);
  verb.size = random_size(rng);
  verb.strict = rng.once_in(2);
  verb.over_base = rng.once_in(2);
  verb.kind = PendingVerb::Kind::kCreate;
  const DiskPolicy policy{.strict = verb.strict};
  Outcome<> done;
  if (verb.over_base) {
    auto over = co_await process_.store->create_disk_over(verb.name, verb.size, policy, {"/sim/base", -1});
    if (!over) done = std::unexpected(over.error());
  } else {
    done = co_await process_.store->create_disk(verb.name, verb.size, policy);
  }
  const bool over_base = verb.over_base;
  conclude(done.has_value());
  if (!done) {
    failed_rightly(done.error(), "create");
    co_return;
  }
  co_await learn_head(shared_.oracle.add_disk(verb.name, verb.size, verb.strict, over_base));
  const std::string name = verb.name;
  start_clients(name);
  // While nothing shares its base.
  if (over_base && rng.once_in(2)) co_await flatten(name, rng);
}

Task<void> Session::verb_snapshot(Rng& rng) {
  PendingVerb& verb = shared_.pending;
  verb = {};
  const std::string name = "s" + std::to_string(++shared_.names);
  const bool group = rng.once_in(3);
  for (const auto& [disk, model] : shared_.oracle.disks) {
    if (model->snapshots.size() >= kMostSnapshots) continue;
    if (group || verb.specs.empty() || rng.once_in(2)) {
      if (!group) verb.specs.clear();
      verb.specs.push_back({disk, name});
    }
  }
  if (verb.specs.empty()) co_return;
  verb.set = std::make_shared<SnapshotSet>();
  verb.set->point = shared_.oracle.now();
  verb.kind = PendingVerb::Kind::kSnapshot;
  for (const Spec& spec : verb.specs) ++shared_.oracle.disks[spec.disk]->watchers;
  auto done = co_await process_.store->snapshot(verb.specs, SnapshotOptions{});
  conclude(done.has_value());
  for (const Spec& spec : verb.specs) {
    DiskModel& disk = *shared_.oracle.disks[spec.disk];
    --disk.watchers;
    if (done) disk.snapshots[spec.snapshot] = shared_.oracle.capture(disk, verb.set);
  }
  if (!done) {
    failed_rightly(done.error(), "snapshot");
    co_return;
  }
  // Some are looked at right away, others much later, or after a crash.
  if (rng.once_in(3)) co_return;
  const std::vector<Spec> specs = verb.specs;
  for (const Spec& spec : specs) {
    if (shared_.violation.empty()) co_await check_snapshot(*shared_.oracle.disks[spec.disk], spec.snapshot);
  }
}

Task<void> Session::verb_remove_snapshots(Rng& rng) {
  PendingVerb& verb = shared_.pending;
  verb = {};
  for (const auto& [name, disk] : shared_.oracle.disks) {
    for (const auto& [snapshot, model] : disk->snapshots) {
      const std::size_t most = disk->snapshots.size() >= kMostSnapshots ? 2 : 5;
      if (!model.holds.empty() && !rng.once_in(4)) continue;
      if (rng.once_in(most) && verb.specs.size() < 3) verb.specs.push_back({name, snapshot});
    }
  }
  if (verb.specs.empty()) co_return;
  verb.kind = PendingVerb::Kind::kRemove;
  auto done = co_await process_.store->remove(verb.specs, false);
  conclude(done.has_value());
  if (!done) {
    failed_rightly(done.error(), "remove");
    co_return;
  }
  for (const Spec& spec : verb.specs) {
    if (!shared_.oracle.disks[spec.disk]->snapshots[spec.snapshot].holds.empty())
      shared_.violate(spec.text() + " was held, and is removed");
  }
  for (const Spec& spec : verb.specs) shared_.oracle.disks[spec.disk]->snapshots.erase(spec.snapshot);
}

Task<void> Session::verb_remove_disk(Rng& rng) {
  const std::string name = pick_disk(rng);
  if (name.empty() || shared_.oracle.disks.size() < 2) co_return;
  co_await pause(name);
  DiskModel& disk = *shared_.oracle.disks[name];
  PendingVerb& verb = shared_.pending;
  verb = {};
  for (const auto& [snapshot, model] : disk.snapshots) verb.specs.push_back({name, snapshot});
  verb.specs.push_back({name, ""});
  verb.kind = PendingVerb::Kind::kRemove;
  auto done = co_await process_.store->remove({{name, ""}}, true);
  conclude(done.has_value());
  if (done) {
    if (disk.held()) shared_.violate("a snapshot of " + name + " was held, and it is removed");
    shared_.oracle.disks.erase(name);
    co_return;
  }
  failed_rightly(done.error(), "remove disk");
  co_await resume(name);
}

Task<void> Session::verb_clone(Rng& rng) {
  if (shared_.oracle.disks.size() >= kMostDisks) co_return;
  DiskModel& origin = *shared_.oracle.disks[random_key(shared_.oracle.disks, rng)];
  if (origin.snapshots.empty()) co_return;
  const std::string snapshot = random_key(origin.snapshots, rng);
  if (!origin.snapshots[snapshot].exact) co_await check_snapshot(origin, snapshot);
  if (!shared_.violation.empty() || !origin.snapshots[snapshot].exact) co_return;
  PendingVerb& verb = shared_.pending;
  verb = {};
  verb.name = "c" + std::to_string(++shared_.names);
  verb.specs = {{origin.name, snapshot}};
  verb.strict = origin.strict_since != kNever;
  verb.kind = PendingVerb::Kind::kClone;
  auto done = co_await process_.store->clone(verb.specs[0], verb.name);
  conclude(done.has_value());
  if (!done) {
    failed_rightly(done.error(), "clone");
    co_return;
  }
  co_await learn_head(shared_.oracle.add_disk_like(verb.name, origin.snapshots[snapshot], verb.strict));
  start_clients(verb.name);
}

// One disk, or several as one.
Task<void> Session::verb_rollback(Rng& rng) {
  std::vector<Spec> to;
  const std::string first = pick_disk(rng);
  const bool several = rng.once_in(2);
  for (const auto& [name, disk] : shared_.oracle.disks) {
    const auto open = open_.find(name);
    const bool ready = open != open_.end() && open->second->device;
    if (disk->snapshots.empty() || !ready || !(name == first || (several && rng.once_in(2)))) continue;
    to.push_back({name, random_key(disk->snapshots, rng)});
  }
  if (to.empty()) co_return;
  bool known = true;
  for (const Spec& spec : to) {
    co_await pause(spec.disk);
    DiskModel& disk = *shared_.oracle.disks[spec.disk];
    if (!disk.snapshots[spec.snapshot].exact) co_await check_snapshot(disk, spec.snapshot);
    // A device failed under the look at it: nothing is known to compare with later.
    known = known && disk.snapshots[spec.snapshot].exact;
  }
  if (!shared_.violation.empty()) co_return;
  const std::string keep = rng.once_in(2) ? "k" + std::to_string(++shared_.names) : "";
  if (known) co_await roll_back(to, keep);
  for (const Spec& spec : to) co_await resume(spec.disk);
}

// Nobody has them open. Without a name the heads are not kept.
Task<void> Session::roll_back(std::vector<Spec> to, std::string keep) {
  PendingVerb& verb = shared_.pending;
  verb = {};
  verb.specs = std::move(to);
  verb.name = keep;
  verb.set = std::make_shared<SnapshotSet>();
  verb.set->point = shared_.oracle.now();
  for (const Spec& spec : verb.specs)
    verb.captured.push_back(shared_.oracle.capture(*shared_.oracle.disks[spec.disk], verb.set));
  verb.kind = PendingVerb::Kind::kRollback;
  const RollbackOptions options{.keep_as = verb.name, .discard = verb.name.empty()};
  auto done = co_await process_.store->rollback(verb.specs, options);
  conclude(done.has_value());
  if (!done) {
    failed_rightly(done.error(), "rollback");
    co_return;
  }
  note_rolled_back(verb);
  for (const Spec& spec : verb.specs) co_await learn_head(*shared_.oracle.disks[spec.disk]);
}

void Session::note_rolled_back(PendingVerb& verb) {
  for (std::size_t i = 0; i < verb.specs.size(); ++i) {
    DiskModel& disk = *shared_.oracle.disks[verb.specs[i].disk];
    if (!verb.name.empty()) disk.snapshots[verb.name] = std::move(verb.captured[i]);
    shared_.oracle.restore(disk, disk.snapshots[verb.specs[i].snapshot]);
  }
}

Task<void> Session::verb_resize(Rng& rng) {
  const std::string name = pick_disk(rng);
  if (name.empty()) co_return;
  co_await pause(name);
  PendingVerb& verb = shared_.pending;
  verb = {};
  verb.specs = {{name, ""}};
  verb.size = random_size(rng);
  verb.kind = PendingVerb::Kind::kResize;
  auto done = co_await process_.store->resize(name, verb.size);
  conclude(done.has_value());
  if (done) {
    shared_.oracle.resize(*shared_.oracle.disks[name], verb.size);
  } else {
    failed_rightly(done.error(), "resize");
  }
  co_await resume(name);
}

Task<void> Session::verb_flatten(Rng& rng) {
  if (shared_.favour == "flatten") {
    if (shared_.oracle.disks.size() >= kMostDisks) co_await verb_remove_disk(rng);
    co_await verb_create(rng);
    co_return;
  }
  const std::string name = pick_disk(rng);
  if (!name.empty()) co_await flatten(name, rng);
}

// While clients write. A crash leaves it marked; the next life ends that.
Task<void> Session::flatten(std::string name, Rng& rng) {
  const auto pace = rng.once_in(2) ? Store::FlattenPace::kAtOnce : Store::FlattenPace::kBackground;
  auto started = co_await process_.store->start_flatten(name, pace);
  if (!started) {
    // It stands on no base, or not alone.
    const bool rightly =
        started.error().kind == ErrorKind::kInvalid || started.error().kind == ErrorKind::kBusy;
    if (!rightly) failed_rightly(started.error(), "flatten");
    co_return;
  }
  std::uint64_t patience = rng.once_in(3) ? rng.below(20) : UINT64_MAX;
  while (true) {
    auto info = co_await process_.store->info({name, ""});
    if (!info || !info->base || !info->base->flatten || !info->base->flatten->running) co_return;
    if (patience-- == 0) break;
    co_await sleep_for(process_.scheduler, std::chrono::microseconds(100));
  }
  auto stopped = co_await process_.store->stop_flatten(name);
  // It may have come to its end.
  if (!stopped && stopped.error().kind != ErrorKind::kInvalid)
    failed_rightly(stopped.error(), "stop flatten");
}

Task<void> Session::end_flattens() {
  std::vector<std::string> names;
  for (const auto& [name, disk] : shared_.oracle.disks) names.push_back(name);
  for (const std::string& name : names) {
    auto info = co_await process_.store->info({name, ""});
    if (!info || !info->base || !info->base->flatten) continue;
    auto stopped = co_await process_.store->stop_flatten(name);
    if (!stopped) failed_rightly(stopped.error(), "stop flatten");
  }
}

Task<void> Session::verb_set_policy(Rng& rng) {
  const std::string name = pick_disk(rng);
  if (name.empty()) co_return;
  co_await pause(name);
  DiskModel& disk = *shared_.oracle.disks[name];
  PendingVerb& verb = shared_.pending;
  verb = {};
  verb.specs = {{name, ""}};
  verb.strict = disk.strict_since == kNever;
  verb.since = shared_.oracle.now();
  verb.kind = PendingVerb::Kind::kSetPolicy;
  const DiskPolicy policy{.strict = verb.strict};
  auto done = co_await process_.store->set_policy(name, policy);
  conclude(done.has_value());
  if (done) {
    disk.strict_since = verb.strict ? verb.since : kNever;
    co_await learn_head(disk);
  } else {
    failed_rightly(done.error(), "set strict");
  }
  co_await resume(name);
}

// Every block that differs is told; the second side is zero where it says so.
Task<void> Session::verb_diff(Rng& rng) {
  DiskModel& disk = *shared_.oracle.disks[random_key(shared_.oracle.disks, rng)];
  if (disk.snapshots.size() < 2) co_return;
  const std::string from = random_key(disk.snapshots, rng);
  const std::string to = random_key(disk.snapshots, rng);
  for (const std::string& name : {from, to}) {
    if (shared_.violation.empty() && !disk.snapshots[name].exact) co_await check_snapshot(disk, name);
  }
  if (!shared_.violation.empty() || !disk.snapshots[from].exact || !disk.snapshots[to].exact) co_return;
  auto ranges = co_await process_.store->diff({disk.name, from}, {disk.name, to}, 0);
  if (!ranges) {
    failed_rightly(ranges.error(), "diff");
    co_return;
  }
  check_diff(fmt::format("{} from {} to {}", disk.name, from, to), *ranges, disk.snapshots[from],
             disk.snapshots[to]);
}

void Session::check_diff(const std::string& what, const std::vector<DiffRange>& ranges,
                         const SnapshotModel& from, const SnapshotModel& to) {
  const std::vector<Value>& a = from.values;
  const std::vector<Value>& b = to.values;
  std::vector<bool> told(b.size());
  for (const DiffRange& range : ranges) {
    for (std::uint64_t at = range.offset_bytes / kSectorBytes;
         at < (range.offset_bytes + range.length_bytes + kSectorBytes - 1) / kSectorBytes && at < b.size();
         ++at) {
      told[at] = true;
      if (range.zero && b[at] != 0) shared_.violate("diff calls a sector zero that is not");
    }
  }
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    if (a[i] != b[i] && !told[i]) shared_.violate(fmt::format("diff of {} misses sector {}", what, i));
  }
}

}  // namespace coppice::sim
