// Scenes: short programs that lead to a state which random ones hardly ever come to, and there crash at every
// step. Each was written for a rule whose absence nothing else showed.
#include <fmt/format.h>

#include <array>

#include "session.h"

namespace coppice::sim {

namespace {

using std::chrono::microseconds;
constexpr std::chrono::nanoseconds kLongWrite = microseconds(40000);
constexpr std::chrono::nanoseconds kLongSync = microseconds(1000);

}  // namespace

const Scene* find_scene(std::string_view name) {
  using S = Session;
  static constexpr std::array<Scene, 28> kScenes = {{
      {.name = "sweep", .play = &S::play_sweep},
      {.name = "suspects", .play = &S::play_suspects, .phases = 2},
      {.name = "marks", .play = &S::play_marks},
      {.name = "unnamed", .play = &S::play_unnamed},
      {.name = "settled", .play = &S::play_settled},
      {.name = "redo", .play = &S::play_redo, .phases = 2, .recovery_at_stake = true},
      {.name = "unsynced",
       .play = &S::play_unsynced,
       .phases = 2,
       .recovery_at_stake = true,
       .crash = Crash::kKill},
      {.name = "superblocks",
       .play = &S::play_superblocks,
       .phases = 2,
       .recovery_at_stake = true,
       .crash = Crash::kKill},
      {.name = "early", .play = &S::play_early},
      {.name = "reader", .play = &S::play_reader},
      {.name = "kept", .play = &S::play_kept},
      {.name = "flatten", .play = &S::play_flatten},
      {.name = "schedule", .play = &S::play_schedule, .crash = Crash::kKill},
      {.name = "fence", .play = &S::play_fence},
      {.name = "replaced", .play = &S::play_replaced},
      {.name = "retaken", .play = &S::play_retaken},
      {.name = "collected", .play = &S::play_collected},
      {.name = "uncopied", .play = &S::play_uncopied},
      {.name = "ring", .play = &S::play_ring, .journal_bytes = 64 << 10},
      {.name = "trimmed", .play = &S::play_trimmed},
      {.name = "base", .play = &S::play_base},
      {.name = "fork", .play = &S::play_fork, .cache_bytes = 512},
      {.name = "tail", .play = &S::play_tail, .phases = 2, .recovery_at_stake = true, .crash = Crash::kKill},
      {.name = "partial", .play = &S::play_partial, .phases = 2, .recovery_at_stake = true},
      {.name = "failed",
       .play = &S::play_failed,
       .phases = 3,
       .recovery_at_stake = true,
       .crash = Crash::kKill,
       .failing_phase = 2},
      {.name = "restored",
       .play = &S::play_restored,
       .phases = 2,
       .recovery_at_stake = true,
       .crash = Crash::kKill,
       .map_lost = true},
      {.name = "untold",
       .play = &S::play_untold,
       .phases = 2,
       .recovery_at_stake = true,
       .crash = Crash::kKill},
      {.name = "unwritten",
       .play = &S::play_unwritten,
       .phases = 2,
       .recovery_at_stake = true,
       .crash = Crash::kKill},
  }};
  for (const Scene& scene : kScenes)
    if (scene.name == name) return &scene;
  return nullptr;
}

// Nothing happens by itself but sweeps and the copy.
Shape scene_shape(Rng& rng, const Scene& scene) {
  Shape shape;
  shape.max_slabs = 4;
  shape.journal_bytes = scene.journal_bytes;
  shape.cache_bytes = scene.cache_bytes;
  shape.grows = true;
  HousekeepingOptions& housekeeping = shape.housekeeping;
  housekeeping.tick = microseconds(200);
  housekeeping.commit_interval = housekeeping.checkpoint_interval = std::chrono::seconds(100);
  housekeeping.pending_blocks = 4000;
  housekeeping.reclaim_leaves = 1;
  housekeeping.space.prepare = housekeeping.space.give_back = false;
  housekeeping.space.settle = {};
  housekeeping.copy.segment_blocks = 2;
  housekeeping.copy.least_log_blocks = 200;
  housekeeping.copy.bytes_per_second = 400 << 20;
  if (rng.once_in(4)) shape.flush_order = FlushOrder::kConservative;
  return shape;
}

Task<void> Session::scene_disk(std::string name, std::uint64_t blocks, bool strict, bool over_base) {
  PendingVerb& verb = shared_.pending;
  verb = {};
  verb.name = name;
  verb.size = blocks * kBlockBytes;
  verb.strict = strict;
  verb.over_base = over_base;
  verb.kind = PendingVerb::Kind::kCreate;
  const DiskPolicy policy{.strict = strict};
  Outcome<> done;
  if (over_base) {
    auto over = co_await process_.store->create_disk_over(name, verb.size, policy, {"/sim/base", -1});
    if (!over) done = std::unexpected(over.error());
  } else {
    done = co_await process_.store->create_disk(name, verb.size, policy);
  }
  conclude(done.has_value());
  if (!done) co_return shared_.violate("create failed: " + done.error().message);
  co_await learn_head(shared_.oracle.add_disk(name, verb.size, strict, over_base));
  co_await open_disk(name);
}

Task<void> Session::scene_write(std::string name, std::uint64_t block, std::uint64_t count) {
  constexpr std::uint64_t kMost = 60;
  for (std::uint64_t done = 0; done < count; done += kMost) {
    const std::uint64_t first = (block + done) * kSectorsPerBlock;
    const std::uint64_t sectors = std::min(kMost, count - done) * kSectorsPerBlock;
    co_await write_range(*shared_.oracle.disks[name], *open_[name]->device, first, sectors, false);
  }
}

Task<void> Session::scene_flush(std::string name) {
  co_await do_flush(*shared_.oracle.disks[name], *open_[name]->device);
}

Task<void> Session::scene_snapshot(std::string disk, std::string name) {
  PendingVerb& verb = shared_.pending;
  verb = {};
  verb.specs = {{disk, name}};
  verb.set = std::make_shared<SnapshotSet>();
  verb.set->point = shared_.oracle.now();
  verb.kind = PendingVerb::Kind::kSnapshot;
  auto done = co_await process_.store->snapshot(verb.specs, SnapshotOptions{});
  conclude(done.has_value());
  DiskModel& model = *shared_.oracle.disks[disk];
  if (done) model.snapshots[name] = shared_.oracle.capture(model, verb.set);
}

Task<void> Session::scene_remove(std::string disk, std::string name) {
  PendingVerb& verb = shared_.pending;
  verb = {};
  verb.specs = {{disk, name}};
  verb.kind = PendingVerb::Kind::kRemove;
  auto done = co_await process_.store->remove(verb.specs, false);
  conclude(done.has_value());
  if (!done) co_return shared_.violate("remove failed: " + done.error().message);
  shared_.oracle.disks[disk]->snapshots.erase(name);
}

// All that was written is durable, proven and part of a checkpoint; the pool holds a copy of the map.
Task<void> Session::scene_settled() {
  co_await process_.engine->parts().journal.prove();
  co_await process_.engine->checkpointer().run();
  while (!process_.engine->parts().pool.superblock().meta_copy.whole())
    co_await sleep_for(process_.scheduler, microseconds(200));
  co_await process_.engine->checkpointer().run();
  co_await process_.engine->parts().journal.prove();
}

Task<void> Session::play() {
  co_await (this->*shared_.scene->play)();
  shared_.scene_ended = true;
}

// At the same time as what follows.
void Session::beside(Task<void> work) {
  ++tasks_;
  spawn(counted(std::move(work)));
}

Task<void> Session::counted(Task<void> work) {
  co_await work;
  --tasks_;
}

// The older of two snapshots goes while the sweep of the younger one is under way.
Task<void> Session::play_sweep() {
  constexpr std::uint64_t kBlocks = 12 * kLeafBlocks;
  co_await scene_disk("d", kBlocks);
  for (const char* name : {"s1", "s2", ""}) {
    for (std::uint64_t block = 0; block < kBlocks; block += kLeafBlocks) co_await scene_write("d", block, 1);
    if (*name != 0) co_await scene_snapshot("d", name);
  }
  co_await scene_settled();
  co_await scene_remove("d", "s2");
  co_await sleep_for(process_.scheduler, microseconds(shared_.rng.below(1500)));
  shared_.at_stake = true;
  co_await scene_remove("d", "s1");
  co_await sleep_for(process_.scheduler, microseconds(500));
}

// A block in one slab is torn; it is accepted, and another slab gets a mark before anything is committed.
Task<void> Session::play_suspects() {
  if (shared_.phase == 1) {
    co_await scene_disk("x", 8);
    co_await scene_write("x", 0, 1);
    co_await scene_disk("f", 250);
    co_await scene_write("f", 0, 250);
    co_await scene_disk("y", 8);
    co_await scene_write("y", 0, 1);
    co_await scene_settled();
    co_await scene_write("x", 0, 1);
    co_return;
  }
  while (process_.engine->parts().granules.any_suspect())
    co_await sleep_for(process_.scheduler, microseconds(20));
  co_await open_disk("y");
  shared_.at_stake = true;
  co_await scene_write("y", 0, 1);
  co_await sleep_for(process_.scheduler, microseconds(500));
}

// An overwrite in place takes from before one checkpoint until the commit at the start of the next.
Task<void> Session::play_marks() {
  co_await scene_disk("x", 64);
  co_await scene_write("x", 0, 4);
  co_await scene_settled();
  co_await scene_write("x", 0, 1);
  shared_.machine.disk.stall_next_write = kLongWrite;
  const auto end = process_.scheduler.now() + kLongWrite;
  beside(scene_write("x", 0, 1));
  co_await sleep_for(process_.scheduler, microseconds(20));
  co_await process_.engine->checkpointer().run();
  if (process_.scheduler.now() >= end)
    co_return shared_.violate("scene: the checkpoint took longer than the write");
  co_await scene_write("x", 8, 1);
  const auto begin = end - microseconds(shared_.rng.between(20, 200));
  if (begin > process_.scheduler.now())
    co_await sleep_for(process_.scheduler, begin - process_.scheduler.now());
  shared_.at_stake = true;
  co_await process_.engine->checkpointer().run();
}

// A snapshot is taken when the sweep of the one above it has done all its steps and not ended yet: its end
// makes the new one another node's child. What was written for the new one, its name and that end are on
// their way at the same time. Where a write is lost, it is the name alone that goes: without the parent, the
// new one's sweep would free what the first snapshot holds and a head that goes on writing does not.
Task<void> Session::play_unnamed() {
  co_await scene_disk("d", kLeafBlocks);
  co_await scene_write("d", 0, kLeafBlocks);
  co_await scene_snapshot("d", "s1");
  co_await scene_write("d", 0, 4);
  co_await scene_snapshot("d", "s2");
  co_await scene_write("d", 0, 4);
  co_await scene_settled();
  co_await first_step_of_sweep();
  co_await hold_round();
  co_await scene_write("d", 16, 1);
  beside(write_on(32, 8));
  co_await scene_snapshot("d", "s3");
}

// The sweep of a snapshot goes on while the next one, which becomes its child, is named and not durable.
Task<void> Session::play_settled() {
  co_await scene_disk("d", 3 * kLeafBlocks);
  for (const char* name : {"s1", "s2"}) {
    for (const std::uint64_t leaf : std::to_array<std::uint64_t>({0, 1, 2}))
      co_await scene_write("d", leaf * kLeafBlocks, 4);
    co_await scene_snapshot("d", name);
  }
  co_await scene_settled();
  co_await first_step_of_sweep();
  co_await hold_round();
  co_await scene_write("d", kLeafBlocks, 4);
  co_await scene_write("d", 2 * kLeafBlocks, 4);
  co_await scene_snapshot("d", "s3");
}

// Removes d@s2. Its sweep has made a step, all of it is durable, and it rests.
Task<void> Session::first_step_of_sweep() {
  Parts& parts = process_.engine->parts();
  const NodeId swept = parts.tree.find_snapshot(parts.tree.find_disk("d")->id, "s2")->id;
  co_await scene_remove("d", "s2");
  // A sweep rests behind a step, for longer than that took.
  shared_.machine.disk.stall_next_sync = kLongSync;
  while (parts.tree.node(swept)->value.reclaimed_up_to.value == 0 ||
         parts.journal.durable() < parts.journal.staged())
    co_await sleep_for(process_.scheduler, microseconds(1));
}

// A round of the journal is under way, and its sync takes long: what is staged meanwhile goes out together.
Task<void> Session::hold_round() {
  SimDisk& machine = shared_.machine.disk;
  co_await scene_write("d", 8, 1);
  machine.stall_next_sync = kLongWrite;
  beside(flush_on());
  while (machine.stall_next_sync.count() != 0) co_await sleep_for(process_.scheduler, microseconds(1));
}

// A client that flushes once; what comes behind that is at stake.
Task<void> Session::flush_on() {
  co_await scene_flush("d");
  shared_.at_stake = true;
}

// … and one that writes behind the snapshot.
Task<void> Session::write_on(std::uint64_t block, std::uint64_t count) {
  while (shared_.pending.kind != PendingVerb::Kind::kSnapshot)
    co_await sleep_for(process_.scheduler, microseconds(1));
  co_await scene_write("d", block, count);
}

// A snapshot is the last thing that is durable, and its writes were replaced before it. What they freed is
// one run, so long that a segment of the copy's log has room there.
Task<void> Session::play_redo() {
  constexpr std::uint64_t kPiece = 60;
  if (shared_.phase != 1) co_return;
  co_await scene_disk("x", 2 * kPiece);
  co_await scene_write("x", 0, 4);
  co_await scene_settled();
  for (const std::uint64_t block : {std::uint64_t{0}, kPiece, kPiece, std::uint64_t{0}})
    co_await scene_write("x", block, kPiece);
  co_await scene_snapshot("x", "s");
}

// A batch is there to see, and neither durable nor in the staging file any more.
Task<void> Session::play_unsynced() {
  if (shared_.phase != 1) co_return;
  co_await scene_disk("x", 64);
  co_await scene_write("x", 0, 4);
  co_await scene_settled();
  co_await scene_write("x", 8, 4);
  const Staging& staging = process_.engine->parts().journal.staging();
  beside(scene_flush("x"));
  while (staging.used_bytes() != 0) co_await sleep_for(process_.scheduler, microseconds(1));
  if (tasks_ == 0) shared_.violate("scene: the flush is done already");
}

// The superblock that names a segment of the log is there to see, and was not synced.
Task<void> Session::play_superblocks() {
  if (shared_.phase != 1) co_return;
  co_await scene_disk("x", 64);
  co_await scene_write("x", 0, 16);
  co_await scene_settled();
  DiskModel& disk = *shared_.oracle.disks["x"];
  BlockDevice& device = *open_["x"]->device;
  co_await zero_range(disk, device, 0, std::uint64_t{8} * kSectorsPerBlock);
  co_await do_flush(disk, device);
  shared_.damage_allowed = true;
  shared_.machine.disk.faults = {.fail_sync_in = 1, .of_superblocks = true};
  co_await process_.engine->checkpointer().run();
}

}  // namespace coppice::sim
