#include "cli/space_watch.h"

#include <spdlog/spdlog.h>

#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

constexpr std::chrono::milliseconds kTick{100};
constexpr int kTicksALook = 10;

}  // namespace

void SpaceWatch::start() {
  if (!looks_) return;
  running_.add();
  spawn(watch());
}

Task<void> SpaceWatch::stop() {
  stopping_ = true;
  co_await running_.wait();
}

Task<void> SpaceWatch::watch() {
  int ticks = 0;
  while (!stopping_) {
    if (ticks++ % kTicksALook == 0) {
      auto pools = co_await store_.pools();
      const Fullness now = pools ? fullness_of(*pools) : Fullness{};
      const auto change = pools ? low_.look(now.percent) : std::nullopt;
      if (change) tell(now, *change);
    }
    co_await sleep_for(reactor_, kTick);
  }
  running_.done();
}

void SpaceWatch::tell(const Fullness& now, const LowSpace::Change& change) {
  const std::string state = std::to_string(now.percent) + " % of the pool are taken (" +
                            format_size(now.used_bytes) + " of " + format_size(now.size_bytes) + ")";
  if (change.worse) {
    spdlog::warn("low space: {}: remove something, empty the trash, or add space", state);
  } else {
    spdlog::info("space again: {}", state);
  }
  hook_.fire({change.worse ? "low-space" : "space-again",
              {{"COPPICE_LEVEL", std::to_string(change.level)},
               {"COPPICE_PERCENT", std::to_string(now.percent)},
               {"COPPICE_USED", std::to_string(now.used_bytes)},
               {"COPPICE_SIZE", std::to_string(now.size_bytes)}}});
}

}  // namespace coppice::cli
