#include "store/retention.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <utility>

namespace coppice {

namespace {

using std::chrono::days;
using std::chrono::floor;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::sys_days;
using Time = std::chrono::sys_time<milliseconds>;

std::int64_t ms_of(Time time) {
  return time.time_since_epoch().count();
}

Time start_of(Period period, Time time) {
  const sys_days day = floor<days>(time);
  switch (period) {
    case Period::kHour:
      return floor<hours>(time);
    case Period::kDay:
      return day;
    case Period::kWeek:
      return day - (std::chrono::weekday(day) - std::chrono::Monday);
    case Period::kMonth:
      break;
  }
  const std::chrono::year_month_day date(day);
  return sys_days(date.year() / date.month() / 1);
}

std::uint64_t count_of(const Schedule& rules, Period period) {
  switch (period) {
    case Period::kHour:
      return rules.hourly;
    case Period::kDay:
      return rules.daily;
    case Period::kWeek:
      return rules.weekly;
    case Period::kMonth:
      break;
  }
  return rules.monthly;
}

bool& mark_of(Kept& kept, Period period) {
  switch (period) {
    case Period::kHour:
      return kept.hourly;
    case Period::kDay:
      return kept.daily;
    case Period::kWeek:
      return kept.weekly;
    case Period::kMonth:
      break;
  }
  return kept.monthly;
}

}  // namespace

std::int64_t period_start(Period period, std::int64_t unix_ms) {
  return ms_of(start_of(period, Time(milliseconds(unix_ms))));
}

// No stretch is shorter than an hour or longer than 31 days.
std::int64_t next_period(Period period, std::int64_t unix_ms) {
  const Time start = start_of(period, Time(milliseconds(unix_ms)));
  switch (period) {
    case Period::kHour:
      return ms_of(start + hours(1));
    case Period::kDay:
      return ms_of(start + days(1));
    case Period::kWeek:
      return ms_of(start + days(7));
    case Period::kMonth:
      break;
  }
  return ms_of(start_of(period, start + days(31)));
}

std::optional<Period> finest_period(const Schedule& rules) {
  const auto* found =
      std::ranges::find_if(kPeriods, [&](Period period) { return count_of(rules, period) != 0; });
  if (found == std::end(kPeriods)) return std::nullopt;
  return *found;
}

std::vector<Kept> retention(std::span<const std::int64_t> times, const Schedule& rules, std::int64_t now_ms) {
  std::vector<Kept> kept(times.size());
  std::vector<std::size_t> newest_first(times.size());
  std::iota(newest_first.begin(), newest_first.end(), std::size_t{0});
  std::ranges::sort(newest_first, std::ranges::greater{},
                    [&](std::size_t at) { return std::pair(times[at], at); });
  for (const std::size_t at : newest_first) kept[at].future = times[at] > now_ms;
  for (const Period period : kPeriods) {
    std::uint64_t left = count_of(rules, period);
    std::optional<std::int64_t> last;
    for (const std::size_t at : newest_first) {
      if (left == 0) break;
      const std::int64_t start = period_start(period, times[at]);
      if (kept[at].future || last == start) continue;
      last = start;
      mark_of(kept[at], period) = true;
      --left;
    }
  }
  return kept;
}

bool is_due(std::span<const std::int64_t> times, const Schedule& rules, std::int64_t last_ms,
            std::int64_t now_ms) {
  const auto finest = finest_period(rules);
  if (!finest) return false;
  const std::int64_t start = period_start(*finest, now_ms);
  const auto has_it = [&](std::int64_t time) { return period_start(*finest, time) == start; };
  return !(last_ms != 0 && has_it(last_ms)) && std::ranges::none_of(times, has_it);
}

}  // namespace coppice
