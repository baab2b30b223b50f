// HeldRange: a range of a head's blocks, held from acquire() on until it goes out of scope.
// Threads: the store's scheduler.
#pragma once

#include "coppice/task.h"
#include "disk/head.h"

namespace coppice {

class HeldRange {
 public:
  explicit HeldRange(Head& head) : head_(head) {}
  ~HeldRange() {
    if (held_) head_.lock.release(entry);
  }
  HeldRange(const HeldRange&) = delete;
  HeldRange& operator=(const HeldRange&) = delete;
  Task<void> acquire(BlockIndex first, std::uint64_t count) {
    entry.first = first.value;
    entry.end = first.value + count;
    co_await head_.lock.acquire(entry);
    held_ = true;
  }
  RangeLock::Entry entry;

 private:
  Head& head_;
  bool held_ = false;
};

}  // namespace coppice
