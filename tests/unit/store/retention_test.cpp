// Which snapshots of a schedule are kept, and when the next is due: no store, no clock.
#include "store/retention.h"

#include <catch2/catch.hpp>
#include <random>
#include <set>

namespace coppice {
namespace {

constexpr std::int64_t kHour = 3'600'000;
constexpr std::int64_t kDay = 24 * kHour;
constexpr std::int64_t kMonday = 1'763'942'400'000;  // 2025-11-24T00:00Z

using Times = std::vector<std::int64_t>;

Times kept(const Times& times, const Schedule& rules, std::int64_t now) {
  const std::vector<Kept> why = retention(times, rules, now);
  Times left;
  for (std::size_t i = 0; i < times.size(); ++i)
    if (why[i].any()) left.push_back(times[i]);
  return left;
}

TEST_CASE("stretches begin at full hours, days, Mondays and months of UTC, also before 1970") {
  CHECK(period_start(Period::kHour, kMonday + 5) == kMonday);
  CHECK(period_start(Period::kHour, kMonday - 1) == kMonday - kHour);
  CHECK(period_start(Period::kDay, kMonday + kDay - 1) == kMonday);
  CHECK(period_start(Period::kWeek, kMonday + 7 * kDay - 1) == kMonday);
  CHECK(period_start(Period::kWeek, kMonday - 1) == kMonday - 7 * kDay);
  CHECK(period_start(Period::kMonth, kMonday) == kMonday - 23 * kDay);
  CHECK(period_start(Period::kDay, -1) == -kDay);
  CHECK(period_start(Period::kMonth, -1) == -31 * kDay);
  CHECK(next_period(Period::kHour, kMonday) == kMonday + kHour);
  CHECK(next_period(Period::kWeek, kMonday + kDay) == kMonday + 7 * kDay);
  CHECK(next_period(Period::kMonth, kMonday) == kMonday + 7 * kDay);           // 2025-12-01
  CHECK(next_period(Period::kMonth, 1'706'659'200'000) == 1'706'745'600'000);  // 2024-01-31 → 2024-02-01
  CHECK(next_period(Period::kMonth, 1'706'745'600'000) == 1'709'251'200'000);  // 2024-02-01 → 2024-03-01
}

TEST_CASE("of each stretch the newest is kept, of as many stretches as the rules say") {
  Times times;
  for (int hour = 0; hour < 72; ++hour) times.push_back(kMonday + hour * kHour + 60'000);
  const std::int64_t now = times.back() + 1;
  const Times hourly = kept(times, {.hourly = 24}, now);
  CHECK(hourly == Times(times.end() - 24, times.end()));
  const Times daily = kept(times, {.daily = 2}, now);
  CHECK(daily == Times{times[47], times[71]});
  // What several rules keep is kept once; the rules add up.
  CHECK(kept(times, {.hourly = 1, .daily = 2}, now) == daily);
  CHECK(kept(times, {.hourly = 2, .daily = 3}, now) == Times{times[23], times[47], times[70], times[71]});
  CHECK(kept(times, {.weekly = 4}, now) == Times{times[71]});
  CHECK(kept(times, {.monthly = 12}, now) == Times{times[71]});
  CHECK(retention(times, {.hourly = 1, .daily = 1}, now)[71] == Kept{.hourly = true, .daily = true});
  CHECK(kept({}, {.hourly = 1}, now).empty());
  CHECK(kept(times, {}, now).empty());
  CHECK(kept(times, {.hourly = UINT64_MAX}, now) == times);
}

TEST_CASE("two of one stretch, in whatever order they are given: the newer one stays") {
  CHECK(kept({kMonday + 10, kMonday + 5}, {.hourly = 5}, kMonday + 20) == Times{kMonday + 10});
  CHECK(kept({kMonday, kMonday - 1}, {.hourly = 5}, kMonday + 20) == Times{kMonday, kMonday - 1});
  // Taken in one millisecond: one stays.
  CHECK(kept({kMonday, kMonday}, {.hourly = 5}, kMonday).size() == 1);
}

TEST_CASE("stretches without a snapshot don't count: a daemon that was down takes nothing away") {
  const Times times{kMonday, kMonday + kHour, kMonday + 2 * kHour};
  CHECK(kept(times, {.hourly = 3}, kMonday + 1000 * kDay) == times);
  CHECK(kept(times, {.hourly = 2}, kMonday + 1000 * kDay) == Times{times[1], times[2]});
}

TEST_CASE("a clock that went back removes nothing of the future, and the future displaces nothing") {
  const Times times{kMonday, kMonday + kHour, kMonday + 100 * kDay};
  const std::int64_t now = kMonday + kHour;
  CHECK(kept(times, {.hourly = 2}, now) == times);
  CHECK(retention(times, {.hourly = 2}, now)[2] == Kept{.future = true});
  CHECK(kept(times, {.hourly = 1}, now) == Times{times[1], times[2]});
  // Its time has come.
  CHECK(kept(times, {.hourly = 1}, kMonday + 100 * kDay) == Times{times[2]});
}

TEST_CASE("one is due in each stretch of the finest kind, once, however long nobody looked") {
  const Schedule hourly{.hourly = 24, .daily = 7};
  CHECK(is_due({}, hourly, 0, kMonday));
  CHECK_FALSE(is_due({}, {}, 0, kMonday));
  CHECK_FALSE(is_due(Times{kMonday + 1}, hourly, kMonday + 1, kMonday + kHour - 1));
  CHECK(is_due(Times{kMonday + 1}, hourly, kMonday + 1, kMonday + kHour));
  CHECK(is_due(Times{kMonday + 1}, hourly, kMonday + 1, kMonday + 50 * kDay));
  // Removed by hand: not again in its stretch. Not noted: it is there.
  CHECK_FALSE(is_due({}, hourly, kMonday + 1, kMonday + 2));
  CHECK_FALSE(is_due(Times{kMonday + 1}, hourly, 0, kMonday + 2));
  // Daily only: an hour later nothing is due.
  CHECK_FALSE(is_due(Times{kMonday}, {.daily = 7}, kMonday, kMonday + kDay - 1));
  CHECK(is_due(Times{kMonday}, {.daily = 7}, kMonday, kMonday + kDay));
  CHECK_FALSE(is_due(Times{kMonday}, {.weekly = 1}, kMonday, kMonday + 7 * kDay - 1));
  CHECK_FALSE(is_due(Times{kMonday}, {.monthly = 1}, kMonday, kMonday + 7 * kDay - 1));
  CHECK(is_due(Times{kMonday}, {.monthly = 1}, kMonday, kMonday + 7 * kDay));
  // The clock went back into a stretch that has one, and into one that has none.
  CHECK_FALSE(is_due(Times{kMonday, kMonday + 9 * kDay}, hourly, kMonday + 9 * kDay, kMonday + 5));
  CHECK(is_due(Times{kMonday, kMonday + 9 * kDay}, hourly, kMonday + 9 * kDay, kMonday + kHour));
}

TEST_CASE("whatever the times: the newest stays, no more stay than the rules say, and once pruned all stay") {
  std::mt19937_64 random(11);
  for (int round = 0; round < 300; ++round) {
    Times times;
    for (std::uint64_t left = random() % 200; left > 0; --left)
      times.push_back(kMonday - static_cast<std::int64_t>(random() % (400 * 24)) * kHour / (1 + round % 7));
    const Schedule rules{random() % 30, random() % 8, random() % 5, random() % 13};
    const Times left = kept(times, rules, kMonday);
    CHECK(left.size() <= rules.hourly + rules.daily + rules.weekly + rules.monthly);
    CHECK(kept(left, rules, kMonday) == left);
    if (!times.empty() && rules.on()) CHECK(std::ranges::max(left) == std::ranges::max(times));
  }
}

}  // namespace
}  // namespace coppice
