// Machine: what outlives a process (disk, map, staging memory, boot id), and Process: the engine that runs on
// it.
//
// A process that crashed is never touched again: its coroutines wait for completions that never come. Its
// memory is left behind; the driver forks, so that this ends with the child.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/uuid.h"
#include "sim_disk.h"
#include "sim_meta.h"
#include "store/store_impl.h"

namespace coppice::sim {

enum class Crash : std::uint8_t { kKill, kPower };

// Everything about a machine that a seed chooses.
struct Shape {
  std::uint64_t members = 1;
  std::uint64_t slab_blocks = 256;
  std::uint64_t max_slabs = 2;
  std::uint64_t journal_bytes = 256 << 10;
  std::uint64_t staging_bytes = 256 << 10;
  std::size_t cache_bytes = 16 << 10;
  HousekeepingOptions housekeeping;
  FlushOrder flush_order = FlushOrder::kOrderFree;
  bool grows = false;  // files that grow and give space back, or devices that discard
  bool quiet = false;  // few requests between checkpoints, so that granules lose their marks
};
Shape random_shape(Rng& rng);
void be_quiet(Shape& shape, Rng& rng);

class Machine {
 public:
  Machine(Rng& rng, const Shape& shape);
  void crash(Crash kind);

  Rng& rng;
  const Shape shape;
  SimDisk disk;
  SimMeta meta;
  bool lose_map = false;        // at the next open, if the pool holds a copy of it
  std::uint64_t maps_lost = 0;  // and made anew from that
  std::vector<std::byte> staging;
  std::vector<std::byte> base;  // the image that disks stand on; as it is before the first open
  Uuid boot;
  const Uuid store;
  std::int64_t wall_ms = 1'700'000'000'000;  // the clock that people read
  std::set<std::string> purged;              // disks that a full pool was about to take from the trash

 private:
  void format();
};

struct Process {
  explicit Process(Machine& on) : machine(on), scheduler(on.rng) {}
  Machine& machine;
  SimScheduler scheduler;
  std::unique_ptr<StoreImpl> store;
  Engine* engine = nullptr;
  std::string notices;

  // Opens the store; housekeeping is not started yet.
  Task<Outcome<>> open();
  // The map is lost, and made anew from the pool.
  Task<Outcome<>> restore_map(Pool& pool);
};

}  // namespace coppice::sim
