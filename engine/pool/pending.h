// PendingBlocks: what waits for a position of the journal to become proven.
//
// A mapped block is *unproven* until recovery takes its record without a look at the data: it is not
// overwritten in place, or a power cut would leave the old record pointing at new data. A freed block is in
// *quarantine* until the record that frees it is proven - before, the older mapping may still come back, or
// the record that mapped it may have to be verified by what stands there - and until the reads that may have
// looked it up are done.
// Threads: the store's scheduler.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "pool/allocator.h"

namespace coppice {

class PendingBlocks {
 public:
  explicit PendingBlocks(Allocator& allocator) : allocator_(allocator) {}

  // `position`: behind the record that maps or frees.
  void mapped(std::uint64_t position, PhysicalRun run);
  void freed(std::uint64_t position, std::span<const PhysicalRun> runs);

  // Around every read, begun before the map is asked.
  std::uint64_t begin_read();
  void end_read(std::uint64_t ticket);

  // Everything below `proven` is proven now; of what that settles at most so many runs are looked at. True if
  // blocks became free.
  bool settle(std::uint64_t proven, std::size_t most_runs = SIZE_MAX);
  // settle() would find something.
  [[nodiscard]] bool due(std::uint64_t proven) const { return maps_due(proven) || frees_due(proven); }

  [[nodiscard]] std::uint64_t blocks() const { return unproven_blocks_ + quarantined_blocks_; }
  [[nodiscard]] std::uint64_t quarantined_blocks() const { return quarantined_blocks_; }

 private:
  struct Entry {
    std::uint64_t position = 0;
    std::uint64_t ticket = 0;  // quarantine: reads with lower tickets may still look at it
    PhysicalRun run;
  };
  [[nodiscard]] std::uint64_t oldest_read() const { return first_ticket_; }
  [[nodiscard]] bool maps_due(std::uint64_t proven) const;
  [[nodiscard]] bool frees_due(std::uint64_t proven) const;

  Allocator& allocator_;
  std::deque<Entry> unproven_;
  std::deque<Entry> quarantine_;
  std::uint64_t unproven_blocks_ = 0;
  std::uint64_t quarantined_blocks_ = 0;
  // Tickets [first_ticket_, first_ticket_ + reads_.size()); true: still running. The first one always runs.
  std::deque<bool> reads_;
  std::uint64_t first_ticket_ = 0;
};

}  // namespace coppice
