// Fullness: how much of a pool is taken, and when that is worth a word. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/node_json.h"
#include "coppice/result.h"
#include "coppice/store.h"

namespace coppice::cli {

inline constexpr unsigned kLowSpacePercent[] = {80, 90, 95};

struct Fullness {
  std::uint64_t used_bytes = 0;
  std::uint64_t size_bytes = 0;  // with what growing files can still get
  unsigned percent = 0;
};
Fullness fullness_of(const std::vector<PoolInfo>& pools);

// "80,90,95" or "off"; ascending.
Outcome<std::vector<unsigned>> parse_levels(const std::string& text);

// Says once that a level was reached, and once that it is left behind: two points below it, so that a pool
// that goes up and down there is not told of each time.
class LowSpace {
 public:
  explicit LowSpace(std::vector<unsigned> levels) : levels_(std::move(levels)) {}
  struct Change {
    unsigned level = 0;  // the highest that holds now; 0: none
    bool worse = false;
  };
  std::optional<Change> look(unsigned percent);

 private:
  std::vector<unsigned> levels_;
  unsigned level_ = 0;
};

// For a person; empty where there is enough.
std::string low_space_text(const Json& fullness);

}  // namespace coppice::cli
