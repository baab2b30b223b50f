#include "fuse/time_name.h"

#include <array>
#include <cstdio>
#include <ctime>

namespace coppice::fuse {

namespace {

constexpr std::size_t kTimeLength = std::string_view("2026-11-22T10:00:00Z").size();

std::time_t seconds_of(std::int64_t unix_ms) {
  const std::int64_t rest = unix_ms % kMsPerSecond;
  return static_cast<std::time_t>(unix_ms / kMsPerSecond - (rest < 0 ? 1 : 0));
}

}  // namespace

std::string time_name(std::int64_t created_unix_ms, std::string_view snapshot) {
  const std::time_t seconds = seconds_of(created_unix_ms);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 64> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return std::string(text.data()) + "-" + std::string(snapshot);
}

std::string_view snapshot_of_time_name(std::string_view name) {
  if (name.size() <= kTimeLength + 1 || name[kTimeLength - 1] != 'Z' || name[kTimeLength] != '-') return {};
  return name.substr(kTimeLength + 1);
}

}  // namespace coppice::fuse
