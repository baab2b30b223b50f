// The names of by-time: when a snapshot was made, to the second in UTC, and its own name:
// "2026-11-22T10:00:00Z-before-upgrade". In the order of the alphabet they are in that of time.
//
// Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace coppice::fuse {

inline constexpr std::int64_t kMsPerSecond = 1000;

std::string time_name(std::int64_t created_unix_ms, std::string_view snapshot);
// What follows the time in such a name; empty if it isn't one. The time is not looked at.
std::string_view snapshot_of_time_name(std::string_view name);

}  // namespace coppice::fuse
