// Scenes: short programs that lead to a state which random ones hardly ever come to, and there crash at every
// step. Each was written for a rule whose absence nothing else showed.
#include <fmt/format.h>

#include <array>

#include "session.h"

namespace coppice::sim {

namespace {

using std::chrono::microseconds;
constexpr std::chrono::nanoseconds kLongWrite = microseconds(9000);

}  // namespace

const Scene* find_scene(std::string_view name) {
  static constexpr std::array<Scene, 7> kScenes = {{{"sweep", 1, false, Crash::kPower},
                                                    {"suspects", 2, false, Crash::kPower},
                                                    {"marks", 1, false, Crash::kPower},
                                                    {"unnamed", 1, false, Crash::kPower},
                                                    {"redo", 2, true, Crash::kPower},
                                                    {"unsynced", 1, false, Crash::kKill},
                                                    {"superblocks", 2, true, Crash::kKill}}};
  for (const Scene& scene : kScenes)
    if (scene.name == name) return &scene;
  return nullptr;
}

// Nothing happens by itself but sweeps and the copy.
Shape scene_shape(Rng& rng) {
  Shape shape;
  shape.max_slabs = 4;
  shape.journal_bytes = 1 << 20;
  shape.cache_bytes = 256 << 10;
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

Task<void> Session::scene_disk(std::string name, std::uint64_t blocks) {
  PendingVerb& verb = shared_.pending;
  verb = {};
  verb.name = name;
  verb.size = blocks * kBlockBytes;
  verb.kind = PendingVerb::Kind::kCreate;
  const DiskPolicy policy;
  auto done = co_await process_.store->create_disk(name, verb.size, policy);
  conclude(done.has_value());
  if (!done) co_return shared_.violate("create failed: " + done.error().message);
  co_await learn_head(shared_.oracle.add_disk(name, verb.size, false));
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
  if (done) shared_.oracle.disks[disk]->snapshots.erase(name);
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
  const std::string_view scene = shared_.scene->name;
  if (scene == "sweep") co_await play_sweep();
  if (scene == "suspects") co_await play_suspects();
  if (scene == "marks") co_await play_marks();
  if (scene == "unnamed") co_await play_unnamed();
  if (scene == "redo") co_await play_redo();
  if (scene == "unsynced") co_await play_unsynced();
  if (scene == "superblocks") co_await play_superblocks();
  shared_.scene_ended = true;
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
  ++tasks_;
  spawn([](Session& session) -> Task<void> {
    co_await session.scene_write("x", 0, 1);
    --session.tasks_;
  }(*this));
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

// Snapshots are taken while a sweep ends above them, which makes them another node's children. One that lost
// a write is without a name then, but not without its parent: else its sweep would free what the first
// snapshot holds and a head that goes on writing does not.
Task<void> Session::play_unnamed() {
  co_await scene_disk("d", 2 * kLeafBlocks);
  co_await scene_write("d", 0, kLeafBlocks);
  co_await scene_snapshot("d", "s1");
  co_await scene_write("d", 0, 4);
  co_await scene_snapshot("d", "s2");
  co_await scene_write("d", 0, 4);
  co_await scene_settled();
  tasks_ += 2;
  spawn(write_on());
  spawn(flush_on());
  shared_.at_stake = true;
  std::string last = "s2";
  for (const char* name : {"s3", "s4", "s5", "s6"}) {
    co_await scene_remove("d", last);
    co_await sleep_for(process_.scheduler, microseconds(shared_.rng.below(300)));
    co_await scene_write("d", 2, 4);
    co_await scene_snapshot("d", name);
    last = name;
  }
}

// A client that writes block behind block.
Task<void> Session::write_on() {
  for (std::uint64_t block = 8; block < kLeafBlocks && !shared_.scene_ended; ++block) {
    co_await scene_write("d", block, 1);
    co_await sleep_for(process_.scheduler, microseconds(shared_.rng.below(100)));
  }
  --tasks_;
}

// … and one that flushes.
Task<void> Session::flush_on() {
  while (!shared_.scene_ended) {
    co_await do_flush(*shared_.oracle.disks["d"], *open_["d"]->device);
    co_await sleep_for(process_.scheduler, microseconds(shared_.rng.below(30)));
  }
  --tasks_;
}

// A snapshot is the last thing that is durable, and one of its writes was replaced before it.
Task<void> Session::play_redo() {
  if (shared_.phase != 1) co_return;
  co_await scene_disk("x", 64);
  co_await scene_write("x", 0, 4);
  co_await scene_settled();
  co_await scene_write("x", 8, 4);
  co_await scene_write("x", 8, 4);
  co_await scene_snapshot("x", "s");
}

// A batch is there to see, and neither durable nor in the staging file any more.
Task<void> Session::play_unsynced() {
  co_await scene_disk("x", 64);
  co_await scene_write("x", 0, 4);
  co_await scene_settled();
  co_await scene_write("x", 8, 4);
  shared_.at_stake = true;
  co_await do_flush(*shared_.oracle.disks["x"], *open_["x"]->device);
}

// The superblock that names a segment of the log is there to see, and was not synced.
Task<void> Session::play_superblocks() {
  if (shared_.phase != 1) co_return;
  co_await scene_disk("x", 64);
  co_await scene_write("x", 0, 16);
  co_await scene_settled();
  DiskModel& disk = *shared_.oracle.disks["x"];
  BlockDevice& device = *open_["x"]->device;
  co_await zero_range(disk, device, 0, 8 * kSectorsPerBlock);
  co_await do_flush(disk, device);
  shared_.damage_allowed = true;
  shared_.machine.disk.faults = {.fail_sync_in = 1, .of_superblocks = true};
  co_await process_.engine->checkpointer().run();
}

}  // namespace coppice::sim
