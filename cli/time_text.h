// Times as RFC 3339 (UTC, milliseconds) and ages as people say them. Pure, but for the clock.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "coppice/result.h"

namespace coppice::cli {

// 0 → "1970-01-01T00:00:00.000Z".
std::string format_time(std::int64_t unix_ms);
// What format_time() wrote; nothing else is taken.
std::optional<std::int64_t> parse_time(const std::string& text);
// "just now", "5 minutes ago", "3 days ago". A time in the future is "just now" too: clocks differ.
std::string format_age(std::int64_t created_unix_ms, std::int64_t now_unix_ms);
// "in 3 hours"; what has passed is "now".
std::string format_until(std::int64_t unix_ms, std::int64_t now_unix_ms);
// Any time of RFC 3339, whatever its zone.
std::optional<std::int64_t> parse_rfc3339(const std::string& text);
// When something ends that a person gave as "never" (0), as a time from now ("90m", "72h", "14d"), or as an
// RFC 3339 time. Refuses what has passed.
Outcome<std::int64_t> parse_end(const std::string& text, std::int64_t now_unix_ms);
// A time that has passed, given as an age ("90m", "72h", "14d") or as an RFC 3339 time.
Outcome<std::int64_t> parse_past(const std::string& text, std::int64_t now_unix_ms);
// The system's clock. COPPICE_CLOCK_OFFSET, seconds, moves it: for tests.
std::int64_t now_unix_ms();

}  // namespace coppice::cli
