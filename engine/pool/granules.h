// Granules: which 16 MiB pieces of the pool may hold in-place writes that no durable record speaks of.
//
// A granule's *mark* is durable on disk before a block of it is overwritten in place. After a power cut the
// marks become *suspects*: there, and only there, a block written in place since the last checkpoint may
// legally not match its checksum. After kill -9 the staging file knows the writes in flight and the marks
// excuse nothing.
// One page per slab holds both bitmaps, in two alternating copies.
// Threads: the store's scheduler.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "coppice/result.h"
#include "coppice/scheduler.h"
#include "coppice/task.h"
#include "layout/record.h"
#include "pool/pool.h"

namespace coppice {

class Granules {
 public:
  Granules(Scheduler& scheduler, Pool& pool);
  ~Granules();

  // After a power cut (`marks_become_suspects`) the marks are added to the suspects; else they are kept as
  // marks. What changed is written and synced by the next call that writes: ensure_marked(), clear_taken(),
  // clear_all(). A page of which neither copy verifies excuses nothing, and is written anew.
  Task<Result<>> load(bool marks_become_suspects);
  void add_slab(std::uint64_t member, std::uint64_t slab);

  // True if the granules of the run are durably marked: the fast path. begin_write() follows without a
  // suspension between, else the mark may be taken away.
  [[nodiscard]] bool marked(PhysicalRun run) const;
  // Marks them, and others ahead, and returns when that is durable; many callers share one write and one
  // sync. Once a write or a sync of marks failed, all later calls fail.
  Task<Result<>> ensure_marked(PhysicalRun run);
  // Counts in-place writes in flight, so that no mark is cleared under one.
  void begin_write(PhysicalRun run);
  void end_write(PhysicalRun run);

  [[nodiscard]] std::uint64_t lost_pages() const { return lost_pages_; }
  [[nodiscard]] bool suspect(PhysicalBlock block) const;
  void clear_suspect(PhysicalBlock granule_start);
  [[nodiscard]] bool any_suspect() const;
  // All have been looked at; durable with the next clear_taken().
  void clear_suspects();

  // Around a checkpoint. take_idle(): forget, in memory, the marks of granules that have no write in flight
  // and had none since the last call (the next writer marks again, durably); returns how many. After the
  // checkpoint is durable clear_taken() clears them on disk - those not marked again - and syncs.
  std::size_t take_idle();
  Task<Result<>> clear_taken();
  // Clean close: no write in flight, everything checkpointed; clears all marks on disk.
  Task<Result<>> clear_all();

 private:
  struct Slab;
  struct Place {
    Slab* slab = nullptr;
    std::uint64_t granules = 0;  // of the slab: a bit each
  };
  [[nodiscard]] Place find(PhysicalRun run) const;
  Result<> adopt(Slab& slab, std::span<const std::byte> both, bool marks_become_suspects);
  [[nodiscard]] std::uint64_t marks_ahead(const Slab& slab) const;
  Task<Result<>> commit();
  Task<Result<>> write_changed(std::vector<Slab*> changed);

  Pool& pool_;
  std::vector<std::vector<std::unique_ptr<Slab>>> slabs_;
  std::vector<Slab*> order_;
  WaitQueue committed_;
  bool committing_ = false;
  std::uint64_t lost_pages_ = 0;
  std::optional<Error> broken_;
};

}  // namespace coppice
