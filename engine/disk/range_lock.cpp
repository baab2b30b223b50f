#include "disk/range_lock.h"

#include <algorithm>

namespace coppice {

// By one that came before it.
bool RangeLock::blocked(std::size_t place) const {
  const Place& wanted = entries_[place];
  return std::any_of(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(place),
                     [&](const Place& other) { return other.overlaps(wanted.first, wanted.end); });
}

bool RangeLock::enter(Entry& entry) {
  entries_.push_back({entry.first, entry.end, &entry});
  entry.granted = !blocked(entries_.size() - 1);
  if (!entry.granted) ++waiting_;
  return entry.granted;
}

void RangeLock::release(Entry& entry) {
  const auto place = std::ranges::find(entries_, &entry, &Place::entry);
  entries_.erase(place);
  for (std::size_t i = 0; waiting_ != 0 && i < entries_.size(); ++i) {
    Entry& other = *entries_[i].entry;
    if (other.granted || blocked(i)) continue;
    other.granted = true;
    --waiting_;
    scheduler_.post(other.waiter);
  }
  released_.wake_all();
}

bool RangeLock::older_write_in(std::uint64_t first, std::uint64_t end, Epoch epoch) const {
  return std::ranges::any_of(entries_, [&](const Place& place) {
    if (!place.overlaps(first, end)) return false;
    const Epoch its = place.entry->epoch;
    return its.value != 0 && its < epoch;
  });
}

Task<void> RangeLock::drained(Epoch epoch) {
  while (older_write_in(0, UINT64_MAX, epoch.next())) co_await released_.wait();
}

}  // namespace coppice
