// Retention: which snapshots of a schedule are kept, and when the next one is due.
//
// Pure. Time is cut into hours, days, weeks (from Monday) and months of UTC. Of each kind the newest snapshot
// of each of the last so many stretches *that have one* is kept, so a daemon that did not run for a month
// takes nothing away. What is younger than now was made before the clock went back: it is kept and counts for
// nothing until its time comes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "coppice/store.h"

namespace coppice {

enum class Period : std::uint8_t { kHour, kDay, kWeek, kMonth };
inline constexpr Period kPeriods[] = {Period::kHour, Period::kDay, Period::kWeek, Period::kMonth};

// The start of the stretch that a time lies in, and of the one behind it.
std::int64_t period_start(Period period, std::int64_t unix_ms);
std::int64_t next_period(Period period, std::int64_t unix_ms);
// Nothing where the schedule is not on.
std::optional<Period> finest_period(const Schedule& rules);

// Why a snapshot is kept. Nothing of it: it is not.
struct Kept {
  bool hourly = false;
  bool daily = false;
  bool weekly = false;
  bool monthly = false;
  bool future = false;
  [[nodiscard]] bool any() const { return hourly || daily || weekly || monthly || future; }
  bool operator==(const Kept&) const = default;
};
// Of each time, in whatever order.
std::vector<Kept> retention(std::span<const std::int64_t> times, const Schedule& rules, std::int64_t now_ms);

// Whether the stretch that `now` lies in has no snapshot yet: not among `times`, nor the last that was taken,
// which may have been removed by hand.
bool is_due(std::span<const std::int64_t> times, const Schedule& rules, std::int64_t last_ms,
            std::int64_t now_ms);

}  // namespace coppice
