#include "sim_scheduler.h"

#include <utility>

namespace coppice::sim {

void SimScheduler::after(std::chrono::nanoseconds delay, std::function<void()> action) {
  events_.push({now_ + delay, order_++, std::move(action)});
}

void SimScheduler::start_timer(TimerRequest& request) {
  after(request.delay, [this, waiter = request.waiter] { post(waiter); });
}

void SimScheduler::offload(BackgroundJob& job) {
  jobs_.push_back(&job);
  if (jobs_.size() == 1) start_job();
}

void SimScheduler::start_job() {
  std::chrono::nanoseconds delay = std::chrono::microseconds(rng_.between(1, rng_.once_in(8) ? 3000 : 100));
  if (job_time_.count() != 0) delay = job_time_;
  after(delay, [this] {
    BackgroundJob* job = jobs_.front();
    job->run();
    post(job->waiter);
    jobs_.pop_front();
    if (!jobs_.empty()) start_job();
  });
}

bool SimScheduler::step() {
  ++steps_;
  if (!ready_.empty()) {
    const auto handle = ready_.front();
    ready_.pop_front();
    handle.resume();
    return true;
  }
  if (events_.empty()) return false;
  auto& event = const_cast<Event&>(events_.top());
  now_ = event.at;
  const auto action = std::move(event.action);
  events_.pop();
  action();
  return true;
}

}  // namespace coppice::sim
