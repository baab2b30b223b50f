// What the program was asked for.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace coppice::bench {

struct Options {
  std::uint64_t size_bytes = std::uint64_t{4} << 30;  // of the main disk and of the raw side
  unsigned pairs = 24;
  std::chrono::milliseconds slice{250};
  std::chrono::seconds long_limit{75};  // of one long run
  std::chrono::seconds time_limit{38 * 60};
  std::string directory;
  std::vector<std::string> only;
  bool quick = false;
  bool json = false;
  std::string profile;      // "engine" or "raw": that side alone, for a profiler
  std::string crash_child;  // a store: fill its journal until killed

  [[nodiscard]] bool long_runs() const { return !quick && long_limit.count() > 0; }
};

// Ends the program with 0 or 2 where there is nothing to run.
Options parse_options(int argc, char** argv);

}  // namespace coppice::bench
