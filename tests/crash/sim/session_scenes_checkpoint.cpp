// Scenes of checkpoints, and of the copy of the map that goes with them.
#include "session.h"

namespace coppice::sim {

namespace {

using std::chrono::microseconds;
constexpr std::chrono::nanoseconds kLongSync = microseconds(3000);
constexpr std::chrono::nanoseconds kLongOverwrite = microseconds(40000);
constexpr std::chrono::nanoseconds kLongWrite = microseconds(100000);
constexpr std::chrono::nanoseconds kLongJob = microseconds(5000);

}  // namespace

// A checkpoint is under way, and its first sync takes long.
Task<void> Session::begin_checkpoint() {
  SimDisk& machine = shared_.machine.disk;
  machine.stall_next_sync = kLongSync;
  beside(run_checkpoint());
  while (machine.stall_next_sync.count() != 0) co_await sleep_for(process_.scheduler, microseconds(1));
}

Task<void> Session::run_checkpoint() {
  (void)co_await process_.engine->checkpointer().run();
}

// An overwrite in place takes from before one checkpoint until the commit at the start of the next.
Task<void> Session::play_marks() {
  co_await scene_disk("x", 64);
  co_await scene_write("x", 0, 4);
  co_await scene_settled();
  co_await scene_write("x", 0, 1);
  shared_.machine.disk.stall_next_write = kLongOverwrite;
  const auto end = process_.scheduler.now() + kLongOverwrite;
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

// An overwrite in place begins in a checkpoint that is about to forget its granule's mark, and outlasts it.
Task<void> Session::play_retaken() {
  co_await scene_disk("x", 64);
  co_await scene_write("x", 0, 4);
  co_await scene_settled();
  co_await scene_write("x", 0, 1);
  co_await run_checkpoint();
  co_await begin_checkpoint();
  shared_.machine.disk.stall_next_write = kLongWrite;
  beside(scene_write("x", 0, 1));
  while (process_.engine->checkpointer().running()) co_await sleep_for(process_.scheduler, microseconds(20));
  if (tasks_ == 0) co_return shared_.violate("scene: the checkpoint took longer than the write");
  shared_.at_stake = true;
  co_await sleep_for(process_.scheduler, microseconds(1000));
}

// A write is published between a checkpoint's commit and what it copies.
Task<void> Session::play_collected() {
  SimDisk& machine = shared_.machine.disk;
  co_await scene_disk("x", 64);
  co_await scene_write("x", 0, 4);
  co_await scene_settled();
  co_await scene_write("x", 8, 1);
  co_await begin_checkpoint();
  co_await scene_write("x", 16, 1);
  while (machine.syncs_under_way != 0) co_await sleep_for(process_.scheduler, microseconds(1));
  shared_.at_stake = true;
  const Journal& journal = process_.engine->parts().journal;
  while (journal.durable() < journal.staged()) co_await sleep_for(process_.scheduler, microseconds(20));
}

// A checkpoint of a store whose pool has no copy of the map, which would be synced behind the pages.
Task<void> Session::play_uncopied() {
  co_await scene_disk("x", 64);
  co_await scene_write("x", 0, 4);
  co_await scene_settled();
  (void)co_await process_.engine->copy().give_up();
  co_await scene_write("x", 8, 4);
  shared_.at_stake = true;
  co_await run_checkpoint();
}

// A client goes on while a checkpoint makes no progress, until the ring is full.
Task<void> Session::play_ring() {
  constexpr std::uint64_t kBefore = 7;
  constexpr std::uint64_t kMeanwhile = 14;
  co_await scene_disk("x", 64);
  co_await scene_write("x", 0, 32);
  co_await scene_settled();
  for (std::uint64_t i = 0; i < kBefore; ++i) {
    co_await scene_write("x", i, 1);
    co_await scene_flush("x");
  }
  co_await begin_checkpoint();
  for (std::uint64_t i = 0; i < kMeanwhile; ++i) {
    shared_.at_stake = i > kMeanwhile / 2;
    co_await scene_write("x", i, 1);
    co_await scene_flush("x");
  }
}

// A flushed hole in what a checkpoint holds.
Task<void> Session::scene_hole() {
  co_await scene_disk("x", 64);
  co_await scene_write("x", 0, 16);
  co_await scene_settled();
  co_await zero_range(*shared_.oracle.disks["x"], *open_["x"]->device, 0,
                      8 * std::uint64_t{kSectorsPerBlock});
  co_await scene_flush("x");
}

// Redo finds it done already where it is in the map.
Task<void> Session::play_trimmed() {
  co_await scene_hole();
  shared_.at_stake = true;
  co_await run_checkpoint();
}

// A checkpoint has a deleted version, and the one that redo makes again of it.
Task<void> Session::play_deleted() {
  co_await scene_disk("x", 64);
  co_await scene_write("x", 0, 8);
  co_await scene_snapshot("x", "s");
  co_await scene_settled();
  co_await scene_write("x", 0, 1);
  co_await scene_flush("x");
  co_await scene_remove("x", "s");
  co_await process_.store->wait_for_reclaim();
  shared_.at_stake = true;
  co_await run_checkpoint();
}

// A new base for the copy, while a client writes to fresh blocks.
Task<void> Session::play_base() {
  co_await scene_disk("x", 64);
  co_await scene_disk("y", 64);
  co_await scene_write("x", 0, 16);
  co_await scene_settled();
  beside(write_fresh());
  shared_.at_stake = true;
  const bool stop = false;
  co_await process_.engine->renew_copy(stop, MetaCopy::Pace::kAtOnce, UINT64_MAX);
}

Task<void> Session::write_fresh() {
  for (std::uint64_t block = 0; block < 64; ++block) co_await scene_write("y", block, 1);
}

// A checkpoint begins when the sweep of a fork has staged what it frees. Next to nothing stays in memory.
Task<void> Session::play_fork() {
  co_await scene_disk("d", kLeafBlocks);
  co_await scene_write("d", 0, 8);
  co_await scene_snapshot("d", "s");
  DiskModel& disk = *shared_.oracle.disks["d"];
  co_await check_snapshot(disk, "s");
  co_await scene_write("d", 0, 4);
  co_await pause("d");
  co_await roll_back({{disk.name, "s"}}, "k");
  co_await resume("d");
  co_await scene_write("d", 0, 4);
  co_await scene_settled();
  const Journal& journal = process_.engine->parts().journal;
  process_.scheduler.set_job_time(kLongJob);
  co_await scene_remove("d", "s");
  const std::uint64_t staged = journal.staged();
  while (journal.staged() == staged) co_await sleep_for(process_.scheduler, microseconds(1));
  co_await run_checkpoint();
  shared_.at_stake = true;
  co_await sleep_for(process_.scheduler, microseconds(1000));
}

// A disk went back to a snapshot, and both its lines have left a block of that behind when it is removed:
// what nobody sees of it is punched, and when the other line goes as well it is deleted whole. The head's own
// version was made from it by zeroes, which redo does not find any more where it was punched. All of that
// before or in the middle of a checkpoint, which has much to write in between.
Task<void> Session::play_punched() {
  constexpr unsigned kEpochs = 6;
  Rng& rng = shared_.rng;
  co_await scene_disk("d", kLeafBlocks);
  co_await scene_disk("y", kLeafBlocks);
  DiskModel& disk = *shared_.oracle.disks["d"];
  co_await scene_settled();
  co_await scene_write("d", 0, 8);
  co_await scene_snapshot("d", "s");
  co_await scene_write("d", 0, 1);
  co_await pause("d");
  co_await check_snapshot(disk, "s");
  co_await roll_back({{disk.name, "s"}}, "k");
  co_await resume("d");
  const bool early = rng.once_in(2);
  if (early || rng.once_in(2)) co_await scene_settled();
  for (unsigned i = 0; i < kEpochs; ++i) {
    co_await scene_write("y", std::uint64_t{4} * i, 1);
    co_await scene_snapshot("y", "y" + std::to_string(i));
  }
  process_.scheduler.set_job_time(microseconds(1000));
  shared_.at_stake = !early;
  if (!early) {
    beside(run_checkpoint());
    co_await sleep_for(process_.scheduler, microseconds(rng.below(3000)));
  }
  co_await zero_range(disk, *open_["d"]->device, 0, kSectorsPerBlock);
  co_await scene_remove("d", "s");
  co_await process_.store->wait_for_reclaim();
  if (early) {
    shared_.at_stake = true;
    beside(run_checkpoint());
    co_await sleep_for(process_.scheduler, microseconds(rng.below(1000)));
  }
  co_await scene_remove("d", "k");
  co_await process_.store->wait_for_reclaim();
  co_await scene_flush("d");
  while (process_.engine->checkpointer().running()) co_await sleep_for(process_.scheduler, microseconds(20));
  co_await sleep_for(process_.scheduler, microseconds(1000));
}

// A checkpoint has a version still to write when a snapshot is taken, the head makes its own from it and the
// snapshot goes: redo from the new start needs what the head's was made from.
Task<void> Session::play_unwanted() {
  constexpr unsigned kEpochs = 6;
  co_await scene_disk("d", kLeafBlocks);
  co_await scene_disk("y", kLeafBlocks);
  co_await scene_settled();
  co_await scene_write("d", 0, 8);
  for (unsigned i = 0; i < kEpochs; ++i) {
    co_await scene_write("y", std::uint64_t{4} * i, 1);
    co_await scene_snapshot("y", "y" + std::to_string(i));
  }
  process_.scheduler.set_job_time(microseconds(1000));
  beside(run_checkpoint());
  co_await sleep_for(process_.scheduler, microseconds(shared_.rng.below(4000)));
  co_await scene_snapshot("d", "s");
  co_await scene_write("d", 0, 1);
  co_await scene_remove("d", "s");
  co_await process_.store->wait_for_reclaim();
  co_await scene_flush("d");
  shared_.at_stake = true;
  while (process_.engine->checkpointer().running()) co_await sleep_for(process_.scheduler, microseconds(20));
  co_await sleep_for(process_.scheduler, microseconds(1000));
}

}  // namespace coppice::sim
