#include "cli/time_text.h"

#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
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

namespace {

// "3 hours"; nothing for less than a second.
std::string in_words(std::int64_t ms) {
  struct Unit {
    std::int64_t seconds;
    const char* name;
  };
  static constexpr Unit kUnits[] = {{31'536'000, "year"}, {2'592'000, "month"}, {86'400, "day"},
                                    {3'600, "hour"},      {60, "minute"},       {1, "second"}};
  for (const auto& unit : kUnits) {
    const std::int64_t count = ms / kMsPerSecond / unit.seconds;
    if (count >= 1) return std::to_string(count) + " " + unit.name + (count == 1 ? "" : "s");
  }
  return {};
}

}  // namespace

std::string format_age(std::int64_t created_unix_ms, std::int64_t now_unix_ms) {
  const std::string words = in_words(now_unix_ms - created_unix_ms);
  return words.empty() ? "just now" : words + " ago";
}

std::string format_until(std::int64_t unix_ms, std::int64_t now_unix_ms) {
  const std::string words = in_words(unix_ms - now_unix_ms + kMsPerSecond - 1);
  return words.empty() ? "now" : "in " + words;
}

std::optional<std::int64_t> parse_rfc3339(const std::string& text) {
  std::tm parts{};
  const char* rest = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest == nullptr) return std::nullopt;
  std::int64_t ms = 0;
  if (*rest == '.') {
    std::int64_t digit_ms = 100;
    const char* digits = ++rest;
    for (; *rest >= '0' && *rest <= '9'; ++rest, digit_ms /= 10) ms += (*rest - '0') * digit_ms;
    if (rest == digits) return std::nullopt;
  }
  std::int64_t zone_minutes = 0;
  if (*rest == '+' || *rest == '-') {
    int hours = 0;
    int minutes = 0;
    int used = 0;
    if (std::sscanf(rest + 1, "%2d:%2d%n", &hours, &minutes, &used) != 2 || used != 5 || rest[6] != '\0')
      return std::nullopt;
    if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return std::nullopt;
    zone_minutes = (*rest == '-' ? -1 : 1) * (std::int64_t{60} * hours + minutes);
  } else if ((*rest != 'Z' && *rest != 'z') || rest[1] != '\0') {
    return std::nullopt;
  }
  return (std::int64_t{timegm(&parts)} - 60 * zone_minutes) * kMsPerSecond + ms;
}

namespace {

// "72h" → milliseconds. A thousand years is as good as never.
std::optional<std::int64_t> parse_duration(const std::string& text) {
  std::int64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || end != text.data() + text.size() - 1 || count < 1) return std::nullopt;
  static constexpr std::pair<char, std::int64_t> kUnits[] = {
      {'s', 1}, {'m', 60}, {'h', 3'600}, {'d', 86'400}, {'w', std::int64_t{7} * 86'400}};
  for (const auto& [unit, seconds] : kUnits) {
    if (*end == unit && count <= std::int64_t{1000} * 366 * 86'400 / seconds)
      return count * seconds * kMsPerSecond;
  }
  return std::nullopt;
}

}  // namespace

Outcome<std::int64_t> parse_end(const std::string& text, std::int64_t now_unix_ms) {
  if (text == "never") return 0;
  if (const auto duration = parse_duration(text)) return now_unix_ms + *duration;
  const auto time = parse_rfc3339(text);
  if (!time) {
    return refuse(ErrorKind::kInvalid,
                  "'" + text + "' is no time: give never, 90m, 72h, 14d, 4w, or a time like " +
                      format_time(now_unix_ms + std::int64_t{72} * 3'600 * kMsPerSecond));
  }
  if (*time <= now_unix_ms) return refuse(ErrorKind::kInvalid, text + " has passed: give a time to come");
  return *time;
}

Outcome<std::int64_t> parse_past(const std::string& text, std::int64_t now_unix_ms) {
  if (const auto duration = parse_duration(text)) return now_unix_ms - *duration;
  if (const auto time = parse_rfc3339(text)) return *time;
  return refuse(ErrorKind::kInvalid, "'" + text + "' is no time: give 90m, 72h, 14d, 4w, or a time like " +
                                         format_time(now_unix_ms));
}

std::int64_t now_unix_ms() {
  using std::chrono::duration_cast;
  const char* offset = std::getenv("COPPICE_CLOCK_OFFSET");
  const std::int64_t moved = offset == nullptr ? 0 : std::strtoll(offset, nullptr, 10) * kMsPerSecond;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return duration_cast<std::chrono::milliseconds>(now).count() + moved;
}

}  // namespace coppice::cli
