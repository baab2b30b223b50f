// Scenes: short programs that lead to a state which random ones hardly ever come to, and there crash at every
// step. Each was written for a rule whose absence nothing else showed. Here: their list, and what they share.
#include <array>

#include "session.h"

namespace coppice::sim {

namespace {

using std::chrono::microseconds;

}  // namespace

const Scene* find_scene(std::string_view name) {
  using S = Session;
  static constexpr std::array<Scene, 36> kScenes = {{
      {.name = "sweep", .play = &S::play_sweep},
      {.name = "folded", .play = &S::play_folded},
      {.name = "ahead", .play = &S::play_ahead, .phases = 2, .settle = microseconds(5000)},
      {.name = "suspects", .play = &S::play_suspects, .phases = 2},
      {.name = "marks", .play = &S::play_marks},
      {.name = "unnamed", .play = &S::play_unnamed},
      {.name = "bookmark", .play = &S::play_bookmark},
      {.name = "overtaken", .play = &S::play_overtaken},
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
      {.name = "quota", .play = &S::play_quota},
      {.name = "flatten", .play = &S::play_flatten},
      {.name = "schedule", .play = &S::play_schedule, .crash = Crash::kKill},
      {.name = "fence", .play = &S::play_fence},
      {.name = "replaced", .play = &S::play_replaced},
      {.name = "retaken", .play = &S::play_retaken},
      {.name = "collected", .play = &S::play_collected},
      {.name = "uncopied", .play = &S::play_uncopied},
      {.name = "ring", .play = &S::play_ring, .journal_bytes = 64 << 10},
      {.name = "deleted", .play = &S::play_deleted},
      {.name = "punched", .play = &S::play_punched},
      {.name = "unwanted", .play = &S::play_unwanted},
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
  shape.housekeeping.rest_beside_commits = false;  // sweeps meet commits
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
  housekeeping.space.settle = scene.settle;
  housekeeping.copy.segment_blocks = 2;
  housekeeping.copy.least_log_blocks = 200;
  housekeeping.copy.bytes_per_second = 400 << 20;
  housekeeping.checkpoint = {.batch_bytes = 1, .step_bytes = 1, .batches = 2};
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

}  // namespace coppice::sim
