#include "disk/range_lock.h"

namespace coppice {

bool RangeLock::blocked(const Entry& entry) const {
  for (const Entry* other : entries_) {
    if (other == &entry) return false;
    if (other->first < entry.end && entry.first < other->end) return true;
  }
  return false;
}

bool RangeLock::enter(Entry& entry) {
  entry.place = entries_.insert(entries_.end(), &entry);
  entry.granted = !blocked(entry);
  return entry.granted;
}

void RangeLock::release(Entry& entry) {
  entries_.erase(entry.place);
  for (Entry* other : entries_) {
    if (other->granted || blocked(*other)) continue;
    other->granted = true;
    scheduler_.post(other->waiter);
  }
  released_.wake_all();
}

bool RangeLock::older_write_in(std::uint64_t first, std::uint64_t end, Epoch epoch) const {
  for (const Entry* other : entries_) {
    const bool older = other->epoch.value != 0 && other->epoch < epoch;
    if (older && other->first < end && first < other->end) return true;
  }
  return false;
}

Task<void> RangeLock::drained(Epoch epoch) {
  while (older_write_in(0, UINT64_MAX, epoch.next())) co_await released_.wait();
}

}  // namespace coppice
