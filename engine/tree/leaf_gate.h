// LeafGate: leaves of which nothing is published for a moment, because a sweep looks at them.
//
// A sweep's record says "nobody sees this any more", and the head's next write builds on that. Both are safe
// only on durable ground: what the sweep saw must outlive a power cut, and so must its record before anything
// is staged that relies on it. Writers wait here behind their data and before their record; they hold
// no gate themselves, so a writer that waits for the space which the sweep will give back stops nobody.
// Threads: the store's scheduler.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "coppice/scheduler.h"
#include "coppice/types.h"

namespace coppice {

class LeafGate {
 public:
  explicit LeafGate(Scheduler& scheduler) : opened_(scheduler) {}

  void close(BranchId branch, LeafIndex leaf) { closed_.emplace_back(branch, leaf); }
  void open() {
    closed_.clear();
    opened_.wake_all();
  }
  [[nodiscard]] bool closed(BranchId branch, LeafIndex from, LeafIndex to) const {
    return std::ranges::any_of(closed_, [&](const auto& each) {
      return each.first == branch && from <= each.second && each.second <= to;
    });
  }
  auto wait() { return opened_.wait(); }

 private:
  std::vector<std::pair<BranchId, LeafIndex>> closed_;
  WaitQueue opened_;
};

}  // namespace coppice
