// One seed: a machine, and lives of the store on it that end in crashes, crashes during recovery among them,
// or in order. Everything follows from the seed and the options.
//
// Branches: every few steps the process forks, and the child crashes there, recovers and is compared, while
// the parent goes on as if nothing had been. So a crash costs a recovery, and no life that leads to it.
#pragma once

#include <cstdint>
#include <string>

#include "session.h"

namespace coppice::sim {

enum class Kinds : std::uint8_t { kKill, kPower, kBoth };

struct RunOptions {
  std::uint64_t seed = 1;
  std::uint64_t crashes = 8;        // lives of the store
  std::uint64_t most_steps = 8000;  // of a life
  Kinds kinds = Kinds::kBoth;
  bool dump = false;               // print the metadata where check finds problems
  bool faults = false;             // failing requests and syncs as well
  bool attachments = false;        // writers that take over from one another, in the place of some diffs
  bool quiet = false;              // few requests, and several slabs
  std::string favour;              // a verb that comes more often than others
  std::string scene;               // instead of random programs
  std::uint64_t branch_every = 0;  // steps between branches, on average; 1: at every step; 0: none
  std::uint64_t branch = 0;        // to replay: go this branch's way, without a fork (0: fork at all of them)
};

struct RunResult {
  std::uint64_t crashes = 0;
  std::uint64_t recoveries_cut = 0;
  std::uint64_t closes = 0;
  std::uint64_t operations = 0;
  std::uint64_t verbs = 0;
  std::uint64_t maps_lost = 0;  // and made anew from the pool
  std::uint64_t branch = 0;     // the one that violated, 0: the run itself
  std::string violation;
};
RunResult run_seed(const RunOptions& options);

}  // namespace coppice::sim
