// Housekeeper: what a running store does by itself: commits every second (later where a device takes long to
// flush), takes up what they prove, checkpoints in time, gives back the space of deleted nodes, keeps change
// masks few (change_folder.h) and space at hand (space_keeper.h), and after a power cut goes through the
// suspect granules. Threads: the store's scheduler.
#pragma once

#include <chrono>
#include <functional>
#include <optional>

#include "coppice/scheduler.h"
#include "store/engine.h"
#include "store/space_keeper.h"

namespace coppice {

struct HousekeepingOptions {
  std::chrono::nanoseconds tick = std::chrono::milliseconds(50);
  // Between commits nobody asked for: the least, and the most where the device takes long for one.
  std::chrono::nanoseconds commit_interval = std::chrono::seconds(1);
  std::chrono::nanoseconds most_commit_interval = std::chrono::seconds(10);
  std::chrono::nanoseconds checkpoint_interval = std::chrono::seconds(30);
  // Blocks that are unproven or in quarantine before a commit: 64 MiB.
  std::uint64_t pending_blocks = (std::uint64_t{64} << 20) / kBlockBytes;
  // Runs of blocks that a commit proves or frees and that are taken up before its callers go on.
  std::size_t settled_at_once = 256;
  // Sweeps rest while a commit is on its way (where nobody waits for what they free).
  bool rest_beside_commits = true;
  std::size_t reclaim_leaves = Reclaimer::kMostLeavesPerStep;  // of a step
  SpaceOptions space;
  CopyOptions copy;
  CheckpointOptions checkpoint;
  std::optional<DirtyOptions> dirty = {};  // else what the cache allows
  // For StoreImpl; see OpenOptions.
  std::function<std::int64_t()> wall_clock = {};
  std::chrono::nanoseconds policy_interval{0};
};

class Housekeeper {
 public:
  Housekeeper(Scheduler& scheduler, Engine& engine, const HousekeepingOptions& options);

  void start();
  // Returns when nothing of it runs any more.
  Task<void> stop();
  // A node died: look for work.
  void wake_reclaimer();
  // Returns when no dead node is left that could give something back, or after a failure.
  Task<Result<>> reclaimed();

 private:
  Task<void> tick();
  Task<void> settle_in_slices();
  Task<void> pace();
  Task<void> reclaim();
  Task<void> yield_to_guests();
  Task<void> scrub_suspects();
  Task<void> keep_copy();
  Task<void> fold_changes();
  Task<void> checkpoint();
  [[nodiscard]] bool rested() const;
  [[nodiscard]] bool wants_commit() const;
  [[nodiscard]] bool wants_proof() const;
  [[nodiscard]] bool wants_checkpoint();
  [[nodiscard]] bool sweep_waits() const;

  Scheduler& scheduler_;
  Engine& engine_;
  HousekeepingOptions options_;
  SpaceKeeper space_;
  WaitGroup running_;
  WaitQueue ticks_;
  WaitQueue proofs_;
  WaitQueue deaths_;
  WaitQueue reclaimed_;
  bool stopping_ = false;
  Result<> reclaim_status_;
  std::chrono::nanoseconds step_began_{};
  std::uint64_t requests_before_ = 0;
  std::chrono::nanoseconds last_commit_{};  // its end
  std::chrono::nanoseconds commit_took_{};
  std::chrono::nanoseconds last_checkpoint_{};
};

}  // namespace coppice
