// HandScheduler: a Scheduler turned by hand, by a seed. Background jobs run in order, but when they run and
// when their waiters hear of it is up to the seed; so is what happens in between.
#pragma once

#include <coroutine>
#include <deque>
#include <random>

#include "coppice/scheduler.h"

namespace coppice::test {

class HandScheduler final : public Scheduler {
 public:
  explicit HandScheduler(std::uint64_t seed) : random_(seed) {}
  void post(std::coroutine_handle<> handle) override { ready_.push_back(handle); }
  void start_timer(TimerRequest& request) override { ready_.push_back(request.waiter); }
  void offload(BackgroundJob& job) override { submitted_.push_back(&job); }
  std::chrono::nanoseconds now() override { return std::chrono::nanoseconds(++clock_); }

  // One thing that can happen, happens. False: nothing is left to do.
  bool turn();
  // Suspends the caller for some turns.
  auto pause() {
    struct Awaiter {
      HandScheduler& scheduler;
      [[nodiscard]] bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> handle) { scheduler.ready_.push_back(handle); }
      void await_resume() const noexcept {}
    };
    return Awaiter{*this};
  }

 private:
  std::mt19937_64 random_;
  std::deque<std::coroutine_handle<>> ready_;
  std::deque<BackgroundJob*> submitted_;
  std::deque<BackgroundJob*> finished_;
  std::int64_t clock_ = 0;
};

}  // namespace coppice::test
