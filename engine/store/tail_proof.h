// TailProof: what stands at the blocks of which it is not known whether their data was written.
//
// Behind a power cut that is every block of the journal's tail: its batches may be durable without the data.
// Behind a kill it is what was being written when the process died. Each is read once, and hashed.
// Threads: the store's scheduler.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "coppice/result.h"
#include "coppice/task.h"
#include "layout/record.h"
#include "pool/pool.h"

namespace coppice {

class TailProof {
 public:
  // Looks at the blocks of `runs`, which lie inside the pool. A block that can't be read, twice, counts as
  // not looked at: to fall back to what it replaced could lose a flushed write; reading it is EIO until it is
  // written again.
  Task<Result<>> look_at(Pool& pool, std::vector<PhysicalRun> runs);

  // Whether the block's content is what the checksum says. True for a block that was not looked at.
  [[nodiscard]] bool fits(PhysicalBlock block, std::uint32_t checksum) const;
  [[nodiscard]] std::optional<std::uint32_t> found(PhysicalBlock block) const;

 private:
  std::unordered_map<std::uint64_t, std::uint32_t> found_;
};

// The blocks that data records speak of.
std::vector<PhysicalRun> runs_of(const std::vector<Record>& records);

}  // namespace coppice
