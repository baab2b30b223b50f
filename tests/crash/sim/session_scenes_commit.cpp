// Scenes of what a commit covers, and of verbs that build on what was written.
#include <array>

#include "session.h"

namespace coppice::sim {

namespace {

using std::chrono::microseconds;
constexpr std::chrono::nanoseconds kLongRead = microseconds(20000);
constexpr std::chrono::nanoseconds kLongWrite = microseconds(1000);
constexpr std::int64_t kHourMs = 3'600'000;

}  // namespace

// Of a client that flushes often the record is durable with another's flush, and its data is written behind
// that.
Task<void> Session::play_early() {
  SimDisk& machine = shared_.machine.disk;
  co_await scene_disk("x", 64);
  co_await scene_write("x", 0, 4);
  co_await scene_settled();
  for (const std::uint64_t block : std::to_array<std::uint64_t>({0, 8})) {
    co_await scene_write("x", block, 1);
    co_await scene_flush("x");
  }
  machine.stall_from_bytes = process_.engine->parts().pool.superblock().slabs_offset_bytes;
  machine.stall_next_write = kLongWrite;
  beside(scene_write("x", 16, 1));
  co_await scene_flush("x");
  while (tasks_ != 0) co_await sleep_for(process_.scheduler, microseconds(1));
  co_await scene_flush("x");
  shared_.at_stake = true;
  co_await sleep_for(process_.scheduler, microseconds(1000));
}

// A read of a block takes long; the block is replaced meanwhile, and that is proven. Another disk writes.
Task<void> Session::play_reader() {
  co_await scene_disk("x", 8, true);
  co_await scene_disk("y", 64);
  co_await scene_write("x", 0, 1);
  co_await scene_settled();
  shared_.machine.disk.stall_next_read = kLongRead;
  beside(read_range(*shared_.oracle.disks["x"], *open_["x"]->device, 0, kSectorsPerBlock));
  co_await scene_write("x", 0, 1);
  co_await process_.engine->parts().journal.prove();
  for (std::uint64_t block = 0; block < 4; ++block) co_await scene_write("y", block, 1);
  while (tasks_ != 0) co_await sleep_for(process_.scheduler, microseconds(1));
  shared_.at_stake = true;
  co_await sleep_for(process_.scheduler, microseconds(200));
}

// A disk goes back, and what it is kept as holds what nobody has flushed.
Task<void> Session::play_kept() {
  co_await scene_disk("x", 64);
  co_await scene_write("x", 0, 4);
  co_await scene_snapshot("x", "s");
  co_await scene_settled();
  DiskModel& disk = *shared_.oracle.disks["x"];
  co_await check_snapshot(disk, "s");
  co_await scene_write("x", 0, 4);
  co_await pause("x");
  shared_.at_stake = true;
  co_await roll_back({{disk.name, "s"}}, "k");
}

// A disk that is copied from its base, and then does without it.
Task<void> Session::play_flatten() {
  co_await scene_disk("x", 16, false, true);
  co_await scene_settled();
  auto started = co_await process_.store->start_flatten("x", Store::FlattenPace::kAtOnce);
  if (!started) co_return shared_.violate("flatten failed: " + started.error().message);
  const Journal& journal = process_.engine->parts().journal;
  const std::uint64_t staged = journal.staged();
  while (journal.staged() == staged) co_await sleep_for(process_.scheduler, microseconds(1));
  shared_.at_stake = true;
  while (!process_.engine->tree().bases().empty() || journal.durable() < journal.staged())
    co_await sleep_for(process_.scheduler, microseconds(20));
}

// A snapshot that a schedule takes.
Task<void> Session::play_schedule() {
  co_await scene_disk("x", 8);
  co_await scene_write("x", 0, 1);
  const Schedule hourly{.hourly = 2};
  co_await set_schedule(*shared_.oracle.disks["x"], hourly);
  co_await scene_settled();
  shared_.machine.wall_ms += kHourMs;
  shared_.at_stake = true;
  co_await run_policies();
}

// A writer takes over from another.
Task<void> Session::play_fence() {
  co_await scene_disk("x", 8);
  co_await pause("x");
  Rng rng(shared_.rng.next());
  shared_.at_stake = true;
  co_await hand_over(*shared_.oracle.disks["x"], rng);
}

}  // namespace coppice::sim
