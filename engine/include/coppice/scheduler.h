// What a coroutine of the engine needs of the thread it lives on, and the primitives built on it.
//
// A Scheduler is one thread's loop: the Reactor, or the simulator's. Everything below is used
// on that thread only, so nothing here locks.
#pragma once

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>

#include "coppice/task.h"

namespace coppice {

// A piece of blocking work (RocksDB, a slow file) for the background thread.
class BackgroundJob {
 public:
  virtual void run() = 0;  // on the background thread
  std::coroutine_handle<> waiter;

 protected:
  ~BackgroundJob() = default;
};

struct TimerRequest {
  std::chrono::nanoseconds delay{};
  std::coroutine_handle<> waiter;
};

class Scheduler {
 public:
  virtual ~Scheduler() = default;
  // Resumes `handle` from the loop, after what is already queued.
  virtual void post(std::coroutine_handle<> handle) = 0;
  // Resumes `request.waiter` after its delay. The request lives until then.
  virtual void start_timer(TimerRequest& request) = 0;
  // Runs `job` on the background thread, in order of submission, then resumes its waiter here.
  virtual void offload(BackgroundJob& job) = 0;
  // Monotonic. The simulator's clock is its own.
  virtual std::chrono::nanoseconds now() = 0;
};

// co_await sleep_for(scheduler, 1s);
inline auto sleep_for(Scheduler& scheduler, std::chrono::nanoseconds delay) {
  struct Awaiter {
    Scheduler& scheduler;
    TimerRequest request;
    [[nodiscard]] bool await_ready() const noexcept { return request.delay.count() <= 0; }
    void await_suspend(std::coroutine_handle<> handle) {
      request.waiter = handle;
      scheduler.start_timer(request);
    }
    void await_resume() const noexcept {}
  };
  return Awaiter{scheduler, {delay, {}}};
}

// auto value = co_await in_background(scheduler, [&] { return blocking_call(); });
template <class Function>
auto in_background(Scheduler& scheduler, Function function) {
  using Value = std::invoke_result_t<Function>;
  struct Awaiter final : BackgroundJob {
    Scheduler& scheduler;
    Function function;
    std::optional<Value> value;
    Awaiter(Scheduler& target, Function work) : scheduler(target), function(std::move(work)) {}
    void run() override { value.emplace(function()); }
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
      waiter = handle;
      scheduler.offload(*this);
    }
    Value await_resume() { return std::move(*value); }
  };
  return Awaiter{scheduler, std::move(function)};
}

// Waits until `count` arrivals have come. One waiter. Arrivals resume it in place.
class Latch {
 public:
  explicit Latch(std::uint32_t count = 0) : pending_(count) {}
  Latch(const Latch&) = delete;
  Latch& operator=(const Latch&) = delete;
  void add(std::uint32_t count = 1) { pending_ += count; }
  void arrive() {
    if (--pending_ == 0 && waiter_) std::exchange(waiter_, nullptr).resume();
  }
  [[nodiscard]] bool await_ready() const noexcept { return pending_ == 0; }
  void await_suspend(std::coroutine_handle<> handle) noexcept { waiter_ = handle; }
  void await_resume() const noexcept {}

 private:
  std::uint32_t pending_;
  std::coroutine_handle<> waiter_;
};

// Coroutines waiting for a condition: `while (!condition) co_await queue.wait();`
// Woken ones run from the loop, in order, and must look at the condition again. The list of those that wait
// runs through their frames, so waiting takes nothing from the heap.
class WaitQueue {
 public:
  class Awaiter {
   public:
    explicit Awaiter(WaitQueue& queue) : queue_(queue) {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) noexcept {
      handle_ = handle;
      *queue_.end_ = this;
      queue_.end_ = &next_;
    }
    void await_resume() const noexcept {}

   private:
    friend class WaitQueue;
    WaitQueue& queue_;
    std::coroutine_handle<> handle_;
    Awaiter* next_ = nullptr;
  };

  explicit WaitQueue(Scheduler& scheduler) : scheduler_(&scheduler) {}
  WaitQueue(const WaitQueue&) = delete;
  WaitQueue& operator=(const WaitQueue&) = delete;
  Awaiter wait() { return Awaiter{*this}; }
  void wake_one() {
    if (empty()) return;
    const Awaiter& first = *first_;
    first_ = first.next_;
    if (first_ == nullptr) end_ = &first_;
    scheduler_->post(first.handle_);
  }
  void wake_all() {
    while (!empty()) wake_one();
  }
  [[nodiscard]] bool empty() const { return first_ == nullptr; }

 private:
  Scheduler* scheduler_;
  Awaiter* first_ = nullptr;
  Awaiter** end_ = &first_;  // where the next one is linked
};

// Holds off others while one coroutine is inside. Fair: handed on to who waits longest.
class AsyncMutex {
 public:
  explicit AsyncMutex(Scheduler& scheduler) : queue_(scheduler) {}
  // co_await mutex.lock(); … mutex.unlock();
  Task<void> lock() {
    // One that was woken holds it already: nobody may step in between.
    if (held_) {
      co_await queue_.wait();
    } else {
      held_ = true;
    }
  }
  void unlock() {
    held_ = !queue_.empty();
    queue_.wake_one();
  }
  [[nodiscard]] bool held() const { return held_; }

 private:
  WaitQueue queue_;
  bool held_ = false;
};

// Counts running tasks so that their owner can wait for the last one.
class WaitGroup {
 public:
  explicit WaitGroup(Scheduler& scheduler) : queue_(scheduler) {}
  void add() { ++running_; }
  void done() {
    if (--running_ == 0) queue_.wake_all();
  }
  Task<void> wait() {
    while (running_ != 0) co_await queue_.wait();
  }
  [[nodiscard]] std::uint64_t running() const { return running_; }

 private:
  WaitQueue queue_;
  std::uint64_t running_ = 0;
};

}  // namespace coppice
