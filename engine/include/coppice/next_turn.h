// co_await NextTurn{scheduler}: resumes from the loop, so that others have their turn, and what was submitted
// is on its way. Threads: the scheduler's.
#pragma once

#include <coroutine>

#include "coppice/scheduler.h"

namespace coppice {

struct NextTurn {
  Scheduler& scheduler;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) const { scheduler.post(handle); }
  void await_resume() const noexcept {}
};

}  // namespace coppice
