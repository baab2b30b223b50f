// SpaceKeeper: space that is ready before a writer asks for it, and space that nobody needs, back to the file
// system.
//
// While few blocks are free it writes zeroes over what comes next: units that were given back, else the slab
// that would be added. Where enough are free it punches units that have been free for a while. Both at a
// limited rate, and slower than a device that is busy with others: three quarters of its time are theirs.
// Nothing depends on it: where it is not in time, writers take what there is.
// It also sees to the reserve (map/space_reserve.h), and that the pool does not grow into what the map needs.
// Threads: the store's scheduler.
#pragma once

#include <chrono>
#include <cstdint>

#include "coppice/scheduler.h"
#include "store/engine.h"

namespace coppice {

struct SpaceOptions {
  bool prepare = true;
  bool give_back = true;
  std::chrono::nanoseconds settle = std::chrono::seconds(1);  // a command's short life needs nothing
  std::chrono::nanoseconds look = std::chrono::milliseconds(200);
  std::chrono::nanoseconds idle = std::chrono::seconds(30);  // twice so long free, and a unit is given back
  std::chrono::nanoseconds pause = std::chrono::milliseconds(100);  // after each
  std::uint64_t bytes_per_second = std::uint64_t{200} << 20;
  std::uint64_t step_bytes = std::uint64_t{1} << 20;
  std::uint64_t unit_blocks = kGranuleBlocks;
  std::uint64_t spare_blocks = 0;  // kept free and ready; half as many, and more are made ready. 0: a slab
};

class SpaceKeeper {
 public:
  SpaceKeeper(Scheduler& scheduler, Engine& engine, SpaceOptions options);

  void start();
  // Called every tick: its waits end at one, so that it can stop.
  void beat() { beats_.wake_all(); }
  Task<void> stop();

 private:
  Task<void> prepare();
  Task<void> give_back();
  Task<void> keep_reserve();
  Task<void> wait(std::chrono::nanoseconds time);
  Task<Result<bool>> step();
  [[nodiscard]] bool ended();
  [[nodiscard]] std::uint64_t spare_blocks();

  Scheduler& scheduler_;
  Engine& engine_;
  SpaceOptions options_;
  WaitQueue beats_;
  WaitGroup running_;
  bool stopping_ = false;
  std::uint64_t settled_at_ = 0;  // the journal's last batch at the last look
};

}  // namespace coppice
