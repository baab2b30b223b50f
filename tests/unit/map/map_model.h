// MapModel: drives a LeafMap with many tasks at once, in an order that a seed decides, and compares every
// answer with the oracle at the moment it is given. It keeps the rules that the disk keeps: a new epoch's
// write to a leaf waits for the older ones in flight there; a fork waits for the writes that it would see.
#pragma once

#include <functional>
#include <memory>
#include <random>
#include <string>

#include "hand_scheduler.h"
#include "map/leaf_map.h"
#include "map_oracle.h"

namespace coppice::test {

struct ModelSettings {
  std::uint64_t seed = 0;
  std::uint64_t leaves = 12;
  unsigned max_branches = 6;
  std::size_t limit_bytes = 4096;
  unsigned tasks = 6;  // at once
};

class MapModel {
 public:
  // Called again, with the old store gone, for each reopening.
  using OpenStore = std::function<std::unique_ptr<MetaStore>()>;
  MapModel(ModelSettings settings, OpenStore open);

  // Empty, or what was wrong.
  std::string run(unsigned steps);

 private:
  struct Flight {
    Epoch epoch;
    unsigned writes = 0;
  };
  using Place = std::pair<BranchId, LeafIndex>;

  void step();
  void drain();
  void reopen();
  void verify_all();
  Task<void> write(BranchId branch, LeafIndex leaf, Epoch epoch);
  void apply_write(CachedLeaf* from, Epoch epoch);
  Task<void> read(View view, LeafIndex leaf);
  Task<void> scan(View view, LeafIndex from, LeafIndex to, std::size_t max);
  Task<void> changes(BranchId branch, Epoch after, Epoch up_to, LeafIndex from, LeafIndex to,
                     std::size_t max);
  Task<void> checkpoint(std::size_t max_bytes);
  Task<void> punch(LeafKey version, std::uint64_t mask);

  void start_write();
  void start_read();
  void start_scan();
  void start_changes();
  void start_reclaim();
  void fork();
  void drop();

  void check_leaf(View view, const CachedLeaf& leaf);
  void complain(std::string text);
  std::uint64_t below(std::uint64_t end) { return random_() % end; }
  BranchId any_branch();
  View any_view();
  LeafIndex any_leaf() { return LeafIndex{below(settings_.leaves) * kLeafStride}; }

  // Leaves of several regions of the dirty index.
  static constexpr std::uint64_t kLeafStride = 1500;

  ModelSettings settings_;
  std::mt19937_64 random_;
  OpenStore open_;
  HandScheduler scheduler_;
  MapOracle oracle_;
  std::unique_ptr<MetaStore> meta_;
  std::unique_ptr<LeafMap> map_;
  std::map<Place, Flight> flights_;
  std::map<BranchId, unsigned> users_;  // tasks that look at a branch: it isn't dropped
  unsigned running_ = 0;
  bool checkpointing_ = false;
  std::uint64_t next_physical_ = 1000;
  std::string failure_;
};

}  // namespace coppice::test
