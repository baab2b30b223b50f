// Times as RFC 3339 (UTC, milliseconds) and ages as people say them. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace coppice::cli {

// 0 → "1970-01-01T00:00:00.000Z".
std::string format_time(std::int64_t unix_ms);
// What format_time() wrote; nothing else is taken.
std::optional<std::int64_t> parse_time(const std::string& text);
// "just now", "5 minutes ago", "3 days ago". A time in the future is "just now" too: clocks differ.
std::string format_age(std::int64_t created_unix_ms, std::int64_t now_unix_ms);
std::int64_t now_unix_ms();

}  // namespace coppice::cli
