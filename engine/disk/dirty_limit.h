// DirtyLimit: how much of the map and of the checksum pages may be dirty, so that memory stays bounded.
//
// What is dirty can't leave memory before a checkpoint has written it, and the journal's ring is no bound for
// it: a first write's record of 100 bytes makes a version of up to 1.4 KiB, a record of 40 a page of 4. From
// half of the limit on a checkpoint is due; from three quarters on writers wait, the longer the more there
// is, so that they come down to the checkpoint's pace; at the limit they wait until there is less: of the map
// from its first batches on, of checksum pages when the map is written, too. What is collected counts no
// more, and is in memory until it is written. Redo needs as much as was dirty, and what a checkpoint writes.
// Without set() there is no limit: for who makes no checkpoints. Threads: the store's scheduler.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "coppice/scheduler.h"
#include "coppice/task.h"
#include "journal/journal.h"
#include "map/leaf_map.h"
#include "pool/checksum_pages.h"

namespace coppice {

struct DirtyOptions {
  std::size_t map_bytes = std::numeric_limits<std::size_t>::max();
  std::size_t checksum_pages = std::numeric_limits<std::size_t>::max();
  std::chrono::nanoseconds longest_wait = std::chrono::milliseconds(20);  // before one write, below the limit
};

class DirtyLimit {
 public:
  DirtyLimit(Scheduler& scheduler, const Journal& journal, const LeafMap& map, const ChecksumPages& checksums)
      : scheduler_(scheduler), journal_(journal), map_(map), checksums_(checksums) {}

  void set(const DirtyOptions& options) { options_ = options; }
  [[nodiscard]] bool wants_checkpoint() const { return map_part() > kDue || checksum_part() > kDue; }

  // Whether what makes versions, or changes checksums, has to wait; and the wait. Before anything is held
  // that a checkpoint or a snapshot waits for. Ends where the journal has stopped.
  [[nodiscard]] bool map_is_slow() const { return map_part() > kSlow; }
  [[nodiscard]] bool map_is_full() const { return map_part() >= 1; }
  [[nodiscard]] bool checksums_are_slow() const { return checksum_part() > kSlow; }
  Task<void> wait_for_map() { return wait(&DirtyLimit::map_part); }
  Task<void> wait_for_checksums() { return wait(&DirtyLimit::checksum_part); }

 private:
  static constexpr double kDue = 0.5;
  static constexpr double kSlow = 0.75;
  using Part = double (DirtyLimit::*)() const;  // of the limit that is dirty
  [[nodiscard]] double map_part() const {
    return static_cast<double>(map_.dirty_bytes()) / static_cast<double>(options_.map_bytes);
  }
  [[nodiscard]] double checksum_part() const {
    return static_cast<double>(checksums_.dirty_pages()) / static_cast<double>(options_.checksum_pages);
  }
  Task<void> wait(Part part);

  Scheduler& scheduler_;
  const Journal& journal_;
  const LeafMap& map_;
  const ChecksumPages& checksums_;
  DirtyOptions options_;
};

}  // namespace coppice
