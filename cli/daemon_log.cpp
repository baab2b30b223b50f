#include "cli/daemon_log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace coppice::cli {

void log_to_stderr() {
  spdlog::set_default_logger(spdlog::stderr_logger_mt("coppice"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
  spdlog::flush_on(spdlog::level::info);
}

void set_log(LogOf what) {
  spdlog::set_level(what == LogOf::kAll ? spdlog::level::info : spdlog::level::warn);
}

}  // namespace coppice::cli
