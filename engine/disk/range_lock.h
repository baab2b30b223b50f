// RangeLock: who writes where on one disk right now.
//
// A writer holds the blocks it touches from before it looks at the map until it has published; overlapping
// ones go in order of arrival. An entry learns its epoch when the write *starts*; so it is known which writes
// of an older epoch are still under way, for the disk (a snapshot waits for them) and for a leaf (a newer
// epoch's first write there waits for them).
// Threads: the store's scheduler.
#pragma once

#include <coroutine>
#include <cstdint>
#include <vector>

#include "coppice/scheduler.h"
#include "coppice/types.h"

namespace coppice {

class RangeLock {
 public:
  struct Entry {
    std::uint64_t first = 0;
    std::uint64_t end = 0;  // exclusive
    Epoch epoch;            // 0 until the write starts
    bool granted = false;
    std::coroutine_handle<> waiter;
  };

  explicit RangeLock(Scheduler& scheduler) : scheduler_(scheduler), released_(scheduler) {}

  // co_await lock.acquire(entry); … lock.release(entry);  entry.first and .end are set.
  auto acquire(Entry& entry) {
    struct Awaiter {
      RangeLock& lock;
      Entry& entry;
      [[nodiscard]] bool await_ready() { return lock.enter(entry); }
      void await_suspend(std::coroutine_handle<> handle) noexcept { entry.waiter = handle; }
      void await_resume() const noexcept {}
    };
    return Awaiter{*this, entry};
  }
  void release(Entry& entry);

  // A write of an older epoch is under way in [first, end).
  [[nodiscard]] bool older_write_in(std::uint64_t first, std::uint64_t end, Epoch epoch) const;
  // Wakes after each release.
  auto wait_for_release() { return released_.wait(); }
  // Returns when no write of `epoch` or an older one is under way.
  Task<void> drained(Epoch epoch);
  [[nodiscard]] bool idle() const { return entries_.empty(); }

 private:
  // The range beside the entry: most looks end there.
  struct Place {
    std::uint64_t first = 0;
    std::uint64_t end = 0;
    Entry* entry = nullptr;
    [[nodiscard]] bool overlaps(std::uint64_t from, std::uint64_t to) const {
      return first < to && from < end;
    }
  };
  bool enter(Entry& entry);
  [[nodiscard]] bool blocked(std::size_t place) const;

  Scheduler& scheduler_;
  WaitQueue released_;
  std::vector<Place> entries_;  // in order of arrival
  std::size_t waiting_ = 0;     // of them
};

}  // namespace coppice
