// RawSide: the yardstick. The blocks of a written disk, straight on the pool's file: O_DIRECT, on a ring set
// up as the engine's is.
//
// The same file, and blocks among those of the disk that it is compared with: a raw file of its own may land
// where the device is twice as fast, or half. The engine is not asked for that disk any more, so it can't
// mind that its checksums no longer hold. It does per request what the engine's side does around the engine:
// choose a place, stamp a buffer. Threads: the one that made it.
#pragma once

#include <liburing.h>

#include <string>
#include <vector>

#include "coppice/aligned_buffer.h"
#include "overhead/pattern.h"
#include "overhead/slice.h"

namespace coppice::bench {

class RawSide {
 public:
  // `pool_file` holds the disk that `ledger` tells of.
  RawSide(const std::string& pool_file, Ledger ledger);
  ~RawSide();
  RawSide(const RawSide&) = delete;
  RawSide& operator=(const RawSide&) = delete;

  [[nodiscard]] Ledger& ledger() { return ledger_; }
  Slice run(const Job& job, Walk& walk, Clock::duration length);
  void verify(std::uint64_t samples);

 private:
  struct Slot {
    AlignedBuffer memory;
    std::uint64_t offset_bytes = 0;
    Clock::time_point start;
    bool reading = false;
    bool syncing = false;
    bool probe = false;
    std::uint64_t turn = 0;
  };
  struct Running;

  void find_blocks();
  [[nodiscard]] bool in_one_piece(std::uint64_t offset_bytes, std::uint64_t length_bytes) const;
  void choose_place(Running& running, Slot& slot) const;
  void prepare(unsigned slots, std::uint64_t bytes);
  void submit(Slot& slot);
  void begin(Running& running, Slot& slot);
  void finish(Running& running, Slot& slot, std::int32_t result);
  void begin_due_probe(Running& running);

  int descriptor_ = -1;
  io_uring ring_{};
  bool ring_made_ = false;
  Ledger ledger_;
  std::vector<std::uint64_t> places_;  // in the file, by the disk's blocks
  std::vector<Slot> slots_;
};

}  // namespace coppice::bench
