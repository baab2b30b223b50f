#include "disk/dirty_limit.h"

#include <algorithm>

namespace coppice {

namespace {
constexpr std::chrono::nanoseconds kLeastWait = std::chrono::microseconds(1);
}

Task<void> DirtyLimit::wait(Part part) {
  double now = (this->*part)();
  do {
    const double over = std::clamp((now - kSlow) / (1 - kSlow), 0.0, 1.0);
    // Squared: at first next to nothing.
    const auto time =
        std::chrono::duration_cast<std::chrono::nanoseconds>(options_.longest_wait * (over * over));
    co_await sleep_for(scheduler_, std::max(time, kLeastWait));
    now = (this->*part)();
  } while (now >= 1 && !journal_.failed());
}

}  // namespace coppice
