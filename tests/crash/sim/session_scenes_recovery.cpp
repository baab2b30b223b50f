// Scenes of recoveries: what they find, and that they may die.
#include "session.h"

namespace coppice::sim {

namespace {

using std::chrono::microseconds;
constexpr std::uint64_t kRequest = 60;  // blocks

}  // namespace

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

// Writes that only the staging file knows of.
Task<void> Session::play_tail() {
  if (shared_.phase != 1) co_return;
  co_await scene_disk("x", 64);
  co_await scene_write("x", 0, 4);
  co_await scene_settled();
  co_await scene_write("x", 8, 4);
}

// A record of many blocks is in the journal, and of its data a part. It frees what stood there.
Task<void> Session::play_partial() {
  if (shared_.phase != 1) co_return;
  co_await scene_disk("x", kRequest, true);
  co_await scene_write("x", 0, kRequest);
  co_await scene_settled();
  co_await scene_write("x", 0, kRequest);
  const Staging& staging = process_.engine->parts().journal.staging();
  beside(scene_flush("x"));
  while (staging.used_bytes() != 0) co_await sleep_for(process_.scheduler, microseconds(1));
}

// The first sync of a recovery fails; what it had read is there to see for the next one.
Task<void> Session::play_failed() {
  co_await play_tail();
}

// A batch of the map's copy is there to see and not synced; the map is lost.
Task<void> Session::play_restored() {
  constexpr std::uint64_t kSyncs = 3;  // of a segment, of the superblock that names it, of the batch
  if (shared_.phase != 1) co_return;
  co_await scene_hole();
  co_await process_.engine->parts().journal.prove();
  const std::uint64_t begun = shared_.machine.disk.syncs;
  beside(run_checkpoint());
  while (shared_.machine.disk.syncs < begun + kSyncs) co_await sleep_for(process_.scheduler, microseconds(1));
}

// A sync fails that belongs to no commit, and the process dies before it comes to one.
Task<void> Session::play_untold() {
  if (shared_.phase != 1) co_return;
  co_await before_failed_sync();
  co_await scene_write("x", 0, 1);
  if (!fault()) shared_.violate("scene: no sync has failed");
}

// The sync of a flush fails; its batch and the data are there to see.
Task<void> Session::play_unwritten() {
  if (shared_.phase != 1) co_return;
  co_await before_failed_sync();
  co_await scene_flush("x");
}

// Something is written and not flushed, and the next sync fails.
Task<void> Session::before_failed_sync() {
  co_await scene_disk("x", 64);
  co_await scene_write("x", 0, 4);
  co_await scene_settled();
  co_await scene_write("x", 8, 4);
  shared_.damage_allowed = true;
  shared_.machine.disk.faults = {.fail_sync_in = 1};
}

}  // namespace coppice::sim
