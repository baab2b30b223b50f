// RangeLock: who writes where on one disk right now.
//
// A writer holds the blocks it touches from before it looks at the map until it has published; overlapping
// ones go in order of arrival. An entry learns its epoch when the write *starts*; so it is known which writes
// of an older epoch are still under way, for the disk (a snapshot waits for them) and for a leaf (a newer
// epoch's first write there waits for them). A write that turns out to change nothing that is there gives its
// epoch back, and takes one when it is published: until then nobody waits for it.
// With many writes in flight most overlap with none: counters of the stretches that are held tell so at once,
// and only who meets one looks at the list.
// Threads: the store's scheduler.
#pragma once

#include <array>
#include <coroutine>
#include <cstdint>

#include "base/intrusive_list.h"
#include "coppice/scheduler.h"
#include "coppice/types.h"

namespace coppice {

class RangeLock {
 public:
  struct Entry {
    std::uint64_t first = 0;
    std::uint64_t end = 0;  // exclusive
    Epoch epoch;            // 0 until the write starts; set by start()
    bool granted = false;
    std::coroutine_handle<> waiter;
    Entry* previous = nullptr;
    Entry* next = nullptr;
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

  // The write that holds the entry belongs to this epoch from now on.
  void start(Entry& entry, Epoch epoch);
  // It belongs to none again. In the same step as start(): nobody may have seen it.
  void give_back_epoch(Entry& entry);
  // A write of an older epoch is under way in [first, end).
  [[nodiscard]] bool older_write_in(std::uint64_t first, std::uint64_t end, Epoch epoch) const;
  // Wakes after each release.
  auto wait_for_release() { return released_.wait(); }
  // Returns when no write of `epoch` or an older one is under way.
  Task<void> drained(Epoch epoch);
  [[nodiscard]] bool idle() const { return entries_.empty(); }

 private:
  // A stretch is 8 blocks; an entry over more than kMostStretches counts as wide.
  static constexpr unsigned kStretchShift = 3;
  static constexpr std::size_t kStretches = 1024;
  static constexpr std::uint64_t kMostStretches = 16;

  bool enter(Entry& entry);
  [[nodiscard]] static bool blocked(const Entry& entry);
  [[nodiscard]] static bool is_wide(const Entry& entry);
  [[nodiscard]] bool meets_none(const Entry& entry) const;
  void count(const Entry& entry, int change);

  Scheduler& scheduler_;
  WaitQueue released_;
  IntrusiveList<Entry> entries_;                  // in order of arrival
  std::size_t waiting_ = 0;                       // of them
  std::array<std::uint16_t, kStretches> held_{};  // entries in the stretches that come here
  std::size_t wide_ = 0;
  Epoch newest_;                // of those that have started at any time
  std::size_t started_ = 0;     // under way
  std::size_t superseded_ = 0;  // of them, of an epoch older than the newest
};

}  // namespace coppice
