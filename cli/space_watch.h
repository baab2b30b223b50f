// SpaceWatch: looks at the pool every second, and says once when it gets full, and when it is not any more.
//
// On the daemon's reactor. What it tells goes to the log and to the command for events.
#pragma once

#include <string>
#include <vector>

#include "cli/event_hook.h"
#include "cli/fullness.h"
#include "coppice/reactor.h"

namespace coppice::cli {

class SpaceWatch {
 public:
  // No levels: it doesn't look.
  SpaceWatch(Reactor& reactor, Store& store, std::vector<unsigned> levels, EventHook& hook)
      : reactor_(reactor),
        store_(store),
        looks_(!levels.empty()),
        low_(std::move(levels)),
        hook_(hook),
        running_(reactor) {}
  void start();
  Task<void> stop();

 private:
  Task<void> watch();
  void tell(const Fullness& now, const LowSpace::Change& change);

  Reactor& reactor_;
  Store& store_;
  bool looks_;
  LowSpace low_;
  EventHook& hook_;
  WaitGroup running_;
  bool stopping_ = false;
};

}  // namespace coppice::cli
