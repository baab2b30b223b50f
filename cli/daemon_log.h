// The log of a process that serves: lines with a time, on stderr.
#pragma once

#include <cstdint>

namespace coppice::cli {

enum class LogOf : std::uint8_t { kAll, kWarnings };

void log_to_stderr();
void set_log(LogOf what);

}  // namespace coppice::cli
