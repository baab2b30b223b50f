// overhead: what the engine costs, beside the raw device, in alternating slices of one process.
#include <algorithm>
#include <cstdio>
#include <exception>

#include "overhead/figures.h"

namespace coppice::bench {

const std::vector<Experiment>& experiments() {
  static const std::vector<Experiment> all{
      {{"write-qd1"}, write_qd1},
      {{"write-qd32"}, write_qd32},
      {{"write-qd128"}, write_qd128},
      {{"sync-qd1"}, sync_qd1},
      {{"read-qd1"}, read_qd1},
      {{"read-qd32"}, read_qd32},
      {{"seq-1m"}, sequential},
      {{"read-cold"}, read_cold},
      {{"memory"}, memory},
      {{"first-write"}, first_write},
      {{"first-write-fragmented"}, first_write_fragmented},
      {{"diff"}, diff},
      {{"space"}, space},
      {{"rollback"}, rollback},
      {{"clone"}, clone},
      {{"rm"}, remove_snapshot},
      {{"recovery"}, recovery},
      {{"depth-1"}, depth_1},
      {{"depth-100"}, depth_100},
      {{"depth-10000"}, depth_10000},
      {{"snapshot-p50", "snapshot-guest-p99"}, snapshots_under_load},
      {{"delete-p99-write", "delete-p99-read", "delete-bytes", "delete-space"}, deletion},
      {{"allowance-write-qd32"}, allowance_write, true},
      {{"allowance-read-qd32"}, allowance_read, true},
  };
  return all;
}

std::vector<std::string> figure_names() {
  std::vector<std::string> names;
  for (const Experiment& experiment : experiments())
    names.insert(names.end(), experiment.figures.begin(), experiment.figures.end());
  return names;
}

namespace {

// Whether all of its figures came out.
bool run(const Experiment& experiment, Lab& lab) {
  const auto complain = [&](const char* why) {
    std::fprintf(stderr, "overhead: %s could not be measured: %s\n", experiment.figures.front().c_str(), why);
    return false;
  };
  if (lab.time_is_up()) return complain("the time is up (--minutes)");
  try {
    experiment.run(lab);
    return true;
  } catch (const std::exception& error) {
    return complain(error.what());
  }
}

int run_all(const Options& options) {
  Reporter reporter(options.json, options.quick);
  Lab lab(options, reporter);
  bool complete = true;
  for (const Experiment& experiment : experiments()) {
    const bool wanted =
        std::ranges::any_of(experiment.figures, [&](const std::string& name) { return lab.wanted(name); });
    if (experiment.on_request && options.only.empty()) continue;
    if (wanted && !run(experiment, lab)) complete = false;
  }
  return complete ? 0 : 1;
}

}  // namespace

}  // namespace coppice::bench

int main(int argc, char** argv) {
  try {
    const auto options = coppice::bench::parse_options(argc, argv);
    if (!options.crash_child.empty()) return coppice::bench::crash_child(options.crash_child);
    return coppice::bench::run_all(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "overhead: %s\n", error.what());
    return 2;
  }
}
