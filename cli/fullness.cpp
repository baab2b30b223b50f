#include "cli/fullness.h"

#include <algorithm>
#include <charconv>

#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

constexpr unsigned kBackPoints = 2;

}  // namespace

// Growing files share their file system's room, as far as is known here: it is counted once.
Fullness fullness_of(const std::vector<PoolInfo>& pools) {
  Fullness found;
  std::uint64_t room_bytes = 0;
  for (const PoolInfo& pool : pools) {
    found.used_bytes += pool.used_bytes + pool.reserved_bytes;
    found.size_bytes += pool.size_bytes;
    if (pool.grows) room_bytes = std::max(room_bytes, pool.room_bytes);
    if (!pool.grows) found.size_bytes += pool.room_bytes;
  }
  found.size_bytes += room_bytes;
  if (found.size_bytes != 0)
    found.percent = static_cast<unsigned>(found.used_bytes / 4096 * 100 / (found.size_bytes / 4096));
  return found;
}

Outcome<std::vector<unsigned>> parse_levels(const std::string& text) {
  std::vector<unsigned> levels;
  if (text == "off") return levels;
  const char* at = text.data();
  const char* end = at + text.size();
  while (true) {
    unsigned level = 0;
    const auto [stop, error] = std::from_chars(at, end, level);
    const bool rises = levels.empty() || level > levels.back();
    if (error != std::errc() || level < 1 || level > 100 || !rises || (stop != end && *stop != ',')) {
      return refuse(ErrorKind::kInvalid,
                    "'" + text + "' are no levels: give per cents that rise, as 80,90,95, or off");
    }
    levels.push_back(level);
    if (stop == end) return levels;
    at = stop + 1;
  }
}

std::optional<LowSpace::Change> LowSpace::look(unsigned percent) {
  unsigned now = 0;
  for (const unsigned level : levels_) {
    const unsigned holds_from = level <= level_ ? level - std::min(level, kBackPoints) : level;
    if (percent >= holds_from) now = level;
  }
  if (now == level_) return std::nullopt;
  const bool worse = now > level_;
  level_ = now;
  return Change{now, worse};
}

std::string low_space_text(const Json& fullness) {
  if (!fullness.value("low", false)) return {};
  return "the pool is " + std::to_string(fullness.value("percent", 0U)) + " % full (" +
         format_size(fullness.value("used", std::uint64_t{0})) + " of " +
         format_size(fullness.value("size", std::uint64_t{0})) +
         "): 'coppice du' tells what removing would free; empty the trash, or add space";
}

}  // namespace coppice::cli
