// SimScheduler: the simulator's thread. Runs one ready coroutine, or one event in the order of virtual time,
// per step; so a crash between any two steps is a matter of not making the next one.
//
// What it ran is never resumed or destroyed after a crash: the frames are left behind, as a killed process
// leaves its memory. Background jobs run inline, one after the other, each at a later moment of its own.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <queue>
#include <vector>

#include "coppice/scheduler.h"
#include "rng.h"

namespace coppice::sim {

class SimScheduler final : public Scheduler {
 public:
  explicit SimScheduler(Rng& rng) : rng_(rng) {}
  void post(std::coroutine_handle<> handle) override { ready_.push_back(handle); }
  void start_timer(TimerRequest& request) override;
  void offload(BackgroundJob& job) override;
  std::chrono::nanoseconds now() override { return now_; }

  void after(std::chrono::nanoseconds delay, std::function<void()> action);
  // False when nothing is left to do.
  bool step();
  [[nodiscard]] std::uint64_t steps() const { return steps_; }
  // How long each background job takes from now on; 0: as chance has it.
  void set_job_time(std::chrono::nanoseconds time) { job_time_ = time; }

 private:
  struct Event {
    std::chrono::nanoseconds at;
    std::uint64_t order;
    std::function<void()> action;
    bool operator>(const Event& other) const { return at != other.at ? at > other.at : order > other.order; }
  };
  void start_job();

  Rng& rng_;
  std::deque<std::coroutine_handle<>> ready_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::deque<BackgroundJob*> jobs_;
  std::chrono::nanoseconds now_{1};
  std::chrono::nanoseconds job_time_{0};
  std::uint64_t order_ = 0;
  std::uint64_t steps_ = 0;
};

}  // namespace coppice::sim
