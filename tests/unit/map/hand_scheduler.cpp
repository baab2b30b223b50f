#include "hand_scheduler.h"

#include <utility>

namespace coppice::test {

namespace {
template <class T>
T pop(std::deque<T>& queue) {
  T first = queue.front();
  queue.pop_front();
  return first;
}
}  // namespace

bool HandScheduler::turn() {
  if (ready_.empty() && submitted_.empty() && finished_.empty()) return false;
  for (;;) {
    switch (random_() % 3) {
      case 0:
        if (ready_.empty()) break;
        pop(ready_).resume();
        return true;
      case 1:
        if (submitted_.empty()) break;
        submitted_.front()->run();
        finished_.push_back(pop(submitted_));
        return true;
      default:
        if (finished_.empty()) break;
        std::swap(finished_.front(), finished_[random_() % finished_.size()]);
        pop(finished_)->waiter.resume();
        return true;
    }
  }
}

}  // namespace coppice::test
