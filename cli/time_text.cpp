#include "cli/time_text.h"

#include <chrono>
#include <cstdio>
#include <ctime>

namespace coppice::cli {
namespace {

constexpr std::int64_t kMsPerSecond = 1000;

}  // namespace

std::string format_time(std::int64_t unix_ms) {
  std::int64_t ms = unix_ms % kMsPerSecond;
  if (ms < 0) ms += kMsPerSecond;
  const auto seconds = static_cast<std::time_t>((unix_ms - ms) / kMsPerSecond);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[48];
  const std::size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text + length, sizeof text - length, ".%03dZ", static_cast<int>(ms));
  return text;
}

std::optional<std::int64_t> parse_time(const std::string& text) {
  std::tm parts{};
  const char* rest = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  int ms = 0;
  int used = 0;
  if (rest == nullptr || std::sscanf(rest, ".%3dZ%n", &ms, &used) != 1 || used != 5) return std::nullopt;
  if (rest[used] != '\0') return std::nullopt;
  return std::int64_t{timegm(&parts)} * kMsPerSecond + ms;
}

std::string format_age(std::int64_t created_unix_ms, std::int64_t now_unix_ms) {
  struct Unit {
    std::int64_t seconds;
    const char* name;
  };
  static constexpr Unit kUnits[] = {{31'536'000, "year"}, {2'592'000, "month"}, {86'400, "day"},
                                    {3'600, "hour"},      {60, "minute"},       {1, "second"}};
  const std::int64_t seconds = (now_unix_ms - created_unix_ms) / kMsPerSecond;
  for (const auto& unit : kUnits) {
    const std::int64_t count = seconds / unit.seconds;
    if (count >= 1) return std::to_string(count) + " " + unit.name + (count == 1 ? " ago" : "s ago");
  }
  return "just now";
}

std::int64_t now_unix_ms() {
  using std::chrono::duration_cast;
  return duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace coppice::cli
