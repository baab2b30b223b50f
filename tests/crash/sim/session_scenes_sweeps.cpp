// Scenes of sweeps, and of snapshots that are not durable yet.
#include <array>

#include "session.h"

namespace coppice::sim {

namespace {

using std::chrono::microseconds;
constexpr std::chrono::nanoseconds kLongWrite = microseconds(40000);
constexpr std::chrono::nanoseconds kLongSync = microseconds(1000);

}  // namespace

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

// A snapshot is swept and gone, and nothing of that is durable when masks could move across where it stood.
Task<void> Session::play_folded() {
  co_await scene_disk("d", 2 * kLeafBlocks);
  for (const char* name : {"s1", "s2"}) {
    for (const std::uint64_t leaf : {0U, 1U}) co_await scene_write("d", leaf * kLeafBlocks, 4);
    co_await scene_snapshot("d", name);
  }
  co_await scene_settled();
  co_await scene_remove("d", "s1");
  shared_.at_stake = true;
  co_await sweeps_ended();
  co_await sleep_for(process_.scheduler, microseconds(1000));
}

// The copy has moved masks to where another snapshot's stand, and the map has not, when these move as well.
Task<void> Session::play_ahead() {
  constexpr std::chrono::nanoseconds kTicks = microseconds(1000);
  if (shared_.phase == 1) {
    co_await scene_disk("d", kLeafBlocks);
    for (const char* name : {"s1", "s2", "s3"}) {
      co_await scene_write("d", 16 * static_cast<std::uint64_t>(name[1] - '0'), 4);
      co_await scene_snapshot("d", name);
    }
    co_await scene_settled();
    co_await sleep_for(process_.scheduler, shared_.scene->settle);
    co_await scene_remove("d", "s2");
    co_await sweeps_ended();
    co_await sleep_for(process_.scheduler, kTicks);
    co_await run_checkpoint();
    co_await sleep_for(process_.scheduler, kTicks);
    co_return;
  }
  co_await scene_remove("d", "s1");
  co_await sweeps_ended();
  co_await sleep_for(process_.scheduler, shared_.scene->settle + kTicks);
  shared_.at_stake = true;
  co_await run_checkpoint();
  co_await sleep_for(process_.scheduler, kTicks);
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

// A head writes, for the first time since a snapshot, where the sweep of that has not come to yet. The
// snapshot before it is gone, so what it took over was born in more epochs than the head wrote in.
Task<void> Session::play_overtaken() {
  co_await scene_disk("d", 4 * kLeafBlocks);
  for (const char* name : {"s1", "s2"}) {
    for (std::uint64_t leaf = 0; leaf < 4; ++leaf) co_await scene_write("d", leaf * kLeafBlocks, 4);
    co_await scene_snapshot("d", name);
  }
  co_await scene_remove("d", "s1");
  co_await sweeps_ended();
  for (const std::uint64_t leaf : std::to_array<std::uint64_t>({0, 2}))
    co_await scene_write("d", leaf * kLeafBlocks, 1);
  co_await scene_settled();
  co_await first_step_of_sweep();
  co_await scene_write("d", 3 * kLeafBlocks, 1);
  co_await sweeps_ended();
  shared_.at_stake = true;
  co_await scene_flush("d");
}

// A bookmark is the last that stands on its branch: the disk went back twice, and what it went back from is
// swept.
Task<void> Session::play_bookmark() {
  co_await scene_disk("d", kLeafBlocks);
  DiskModel& disk = *shared_.oracle.disks["d"];
  for (const char* name : {"s1", "s2", "s3"}) {
    co_await scene_write("d", 0, 4);
    co_await scene_snapshot("d", name);
    co_await scene_back(disk, "s1");
  }
  co_await verb_keep_changes(disk, "s2");
  co_await sweeps_ended();
  shared_.at_stake = true;
  co_await verb_diff_bookmark(disk, "s2", "s3");
  co_await scene_flush("d");
}

Task<void> Session::scene_back(DiskModel& disk, std::string target) {
  co_await pause(disk.name);
  if (!disk.snapshots[target].exact) co_await check_snapshot(disk, target);
  co_await roll_back({{disk.name, target}}, "");
  co_await resume(disk.name);
}

Task<void> Session::sweeps_ended() {
  while (process_.engine->reclaimer().has_work()) co_await sleep_for(process_.scheduler, microseconds(100));
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

// A block is written twice before a snapshot and once behind it; all but the first are in one round.
Task<void> Session::play_replaced() {
  co_await scene_disk("d", kLeafBlocks);
  co_await scene_write("d", 0, 4);
  co_await scene_settled();
  co_await hold_round();
  co_await scene_write("d", 8, 1);
  beside(write_on(8, 1));
  co_await scene_snapshot("d", "s");
}

// Removes d@s2. Its sweep has made a step, all of it is durable, and it rests.
Task<void> Session::first_step_of_sweep() {
  Parts& parts = process_.engine->parts();
  const NodeId swept = parts.tree.find_snapshot(parts.tree.find_disk("d")->id, "s2")->id;
  co_await scene_remove("d", "s2");
  // A sweep rests behind a step, for longer than that took.
  shared_.machine.disk.stall_next_sync = kLongSync;
  while (parts.tree.node(swept)->value.cursor.value == 0 || parts.journal.durable() < parts.journal.staged())
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

}  // namespace coppice::sim
