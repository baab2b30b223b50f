#include "disk/range_lock.h"

namespace coppice {

namespace {

bool overlaps(const RangeLock::Entry& entry, std::uint64_t first, std::uint64_t end) {
  return entry.first < end && first < entry.end;
}

}  // namespace

bool RangeLock::is_wide(const Entry& entry) {
  return ((entry.end - 1) >> kStretchShift) - (entry.first >> kStretchShift) >= kMostStretches;
}

void RangeLock::count(const Entry& entry, int change) {
  if (is_wide(entry)) {
    wide_ += static_cast<std::size_t>(change);
    return;
  }
  for (std::uint64_t at = entry.first >> kStretchShift; at <= (entry.end - 1) >> kStretchShift; ++at) {
    std::uint16_t& held = held_[at % kStretches];
    held = static_cast<std::uint16_t>(held + change);
  }
}

bool RangeLock::meets_none(const Entry& entry) const {
  if (entries_.empty()) return true;
  if (wide_ != 0 || is_wide(entry)) return false;
  for (std::uint64_t at = entry.first >> kStretchShift; at <= (entry.end - 1) >> kStretchShift; ++at) {
    if (held_[at % kStretches] != 0) return false;
  }
  return true;
}

// By one that came before it.
bool RangeLock::blocked(const Entry& entry) {
  for (const Entry* other = entry.previous; other != nullptr; other = other->previous) {
    if (overlaps(*other, entry.first, entry.end)) return true;
  }
  return false;
}

bool RangeLock::enter(Entry& entry) {
  const bool alone = meets_none(entry);
  entries_.push_back(entry);
  count(entry, 1);
  entry.granted = alone || !blocked(entry);
  if (!entry.granted) ++waiting_;
  return entry.granted;
}

void RangeLock::release(Entry& entry) {
  entries_.remove(entry);
  count(entry, -1);
  if (entry.epoch.value != 0) {
    --started_;
    if (entry.epoch < newest_) --superseded_;
  }
  for (Entry* other = entries_.front(); waiting_ != 0 && other != nullptr; other = other->next) {
    if (other->granted || blocked(*other)) continue;
    other->granted = true;
    --waiting_;
    scheduler_.post(other->waiter);
  }
  released_.wake_all();
}

void RangeLock::start(Entry& entry, Epoch epoch) {
  if (entry.epoch == epoch) return;
  if (newest_ < epoch) {
    newest_ = epoch;
    superseded_ = started_;
  } else if (epoch < newest_) {
    ++superseded_;
  }
  entry.epoch = epoch;
  ++started_;
}

void RangeLock::give_back_epoch(Entry& entry) {
  --started_;
  if (entry.epoch < newest_) --superseded_;
  entry.epoch = {};
}

bool RangeLock::older_write_in(std::uint64_t first, std::uint64_t end, Epoch epoch) const {
  if (started_ == 0 || (superseded_ == 0 && epoch <= newest_)) return false;
  for (const Entry* entry = entries_.front(); entry != nullptr; entry = entry->next) {
    if (overlaps(*entry, first, end) && entry->epoch.value != 0 && entry->epoch < epoch) return true;
  }
  return false;
}

Task<void> RangeLock::drained(Epoch epoch) {
  while (older_write_in(0, UINT64_MAX, epoch.next())) co_await released_.wait();
}

}  // namespace coppice
