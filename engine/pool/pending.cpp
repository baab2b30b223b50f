#include "pool/pending.h"

#include "base/mutation.h"

namespace coppice {

void PendingBlocks::mapped(std::uint64_t position, PhysicalRun run) {
  allocator_.set_unproven(run);
  unproven_.push_back({position, 0, run});
  unproven_blocks_ += run.count;
}

void PendingBlocks::freed(std::uint64_t position, std::span<const PhysicalRun> runs) {
  const std::uint64_t next_ticket = first_ticket_ + reads_.size();
  for (const PhysicalRun& run : runs) {
    quarantine_.push_back({position, next_ticket, run});
    quarantined_blocks_ += run.count;
  }
  if (mutated(Mutation::kNoQuarantine)) settle(UINT64_MAX);
}

std::uint64_t PendingBlocks::begin_read() {
  reads_.push_back(true);
  return first_ticket_ + reads_.size() - 1;
}

void PendingBlocks::end_read(std::uint64_t ticket) {
  reads_[ticket - first_ticket_] = false;
  while (!reads_.empty() && !reads_.front()) {
    reads_.pop_front();
    ++first_ticket_;
  }
}

bool PendingBlocks::maps_due(std::uint64_t proven) const {
  return !unproven_.empty() && unproven_.front().position <= proven;
}

bool PendingBlocks::frees_due(std::uint64_t proven) const {
  return !quarantine_.empty() && quarantine_.front().position <= proven &&
         (quarantine_.front().ticket <= oldest_read() || mutated(Mutation::kQuarantineIgnoresReads));
}

bool PendingBlocks::settle(std::uint64_t proven, std::size_t most_runs) {
  for (; most_runs != 0 && maps_due(proven); --most_runs) {
    allocator_.clear_unproven(unproven_.front().run);
    unproven_blocks_ -= unproven_.front().run.count;
    unproven_.pop_front();
  }
  bool freed_any = false;
  for (; most_runs != 0 && frees_due(proven); --most_runs) {
    allocator_.release(quarantine_.front().run);
    quarantined_blocks_ -= quarantine_.front().run.count;
    quarantine_.pop_front();
    freed_any = true;
  }
  return freed_any;
}

}  // namespace coppice
