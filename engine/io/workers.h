// Workers: threads that run blocking items in order of submission and hand them back.
//
// An eventfd tells that something has been handed back; it is written once for all that wait to be taken.
// What was submitted is run before the destructor returns. Threads: submit and take_finished are the owner's.
#pragma once

#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

namespace coppice {

template <class Item>
class Workers {
 public:
  using Run = void (*)(Item&);
  struct Options {
    const char* name;
    unsigned threads = 1;
    int niceness = 0;
  };
  // `wake_descriptor` outlives this.
  Workers(Options options, Run run, int wake_descriptor) : run_(run), wake_descriptor_(wake_descriptor) {
    for (unsigned i = 0; i < options.threads; ++i) {
      threads_.emplace_back([this, options] { loop(options); });
      pthread_setname_np(threads_.back().native_handle(), options.name);
    }
  }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  ~Workers() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    work_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  void submit(Item& item) {
    {
      const std::lock_guard lock(mutex_);
      queued_.push_back(&item);
    }
    work_.notify_one();
  }

  // `into` is empty; its memory is used again.
  void take_finished(std::vector<Item*>& into) {
    const std::lock_guard lock(mutex_);
    into.swap(finished_);
  }

 private:
  void loop(const Options& options) {
    // Niceness is per thread on Linux.
    if (options.niceness != 0)
      setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), options.niceness);
    std::unique_lock lock(mutex_);
    while (true) {
      work_.wait(lock, [this] { return stopping_ || !queued_.empty(); });
      if (queued_.empty()) return;
      Item* item = queued_.front();
      queued_.pop_front();
      lock.unlock();
      run_(*item);
      lock.lock();
      finished_.push_back(item);
      if (finished_.size() == 1) wake();
    }
  }

  void wake() const {
    const std::uint64_t one = 1;
    if (write(wake_descriptor_, &one, sizeof one) != sizeof one) std::abort();
  }

  Run run_;
  int wake_descriptor_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<Item*> queued_;
  std::vector<Item*> finished_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace coppice
