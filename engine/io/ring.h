// The io_uring behind a Reactor, for the io room only.
#pragma once

#include <liburing.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <queue>
#include <thread>
#include <vector>

#include "coppice/reactor.h"

namespace coppice {

// Runs BackgroundJobs in order on a niced thread and hands them back through an eventfd.
class BackgroundThread {
 public:
  explicit BackgroundThread(int wake_descriptor);
  ~BackgroundThread();
  BackgroundThread(const BackgroundThread&) = delete;
  BackgroundThread& operator=(const BackgroundThread&) = delete;
  void submit(BackgroundJob& job);
  void take_finished(std::vector<std::coroutine_handle<>>& into);

 private:
  void loop();
  int wake_descriptor_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<BackgroundJob*> queued_;
  std::vector<std::coroutine_handle<>> finished_;
  bool stopping_ = false;
  std::thread thread_;
};

struct Reactor::Ring {
  struct Deadline {
    std::chrono::nanoseconds at;
    std::uint64_t order;
    std::coroutine_handle<> waiter;
    bool operator>(const Deadline& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };

  io_uring uring{};
  std::vector<std::coroutine_handle<>> ready;
  std::vector<std::coroutine_handle<>> running;
  std::priority_queue<Deadline, std::vector<Deadline>, std::greater<>> deadlines;
  std::uint64_t timer_order = 0;
  int wake_descriptor = -1;
  std::uint64_t wake_value = 0;
  RingOperation wake_operation;
  std::vector<std::coroutine_handle<>> finished;
  std::unique_ptr<BackgroundThread> background;

  // Never null: submits what is queued when the queue is full.
  io_uring_sqe* next_entry();
};

}  // namespace coppice
