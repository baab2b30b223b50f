// Space: blocks for a write, growing the pool or waiting for space on its way back before ENOSPC.
#pragma once

#include <vector>

#include "disk/parts.h"

namespace coppice {

// `count` free blocks in as few runs as possible, at `goal` if it can be. kNoSpace when the pool is full and
// nothing is on its way back; nothing is taken then.
Task<Result<>> take_blocks(Parts& parts, std::uint64_t count, PhysicalBlock goal,
                           std::vector<PhysicalRun>& into);
// Takes up what the journal has proven since, for at most so many runs of blocks, and wakes who waits for
// space. True if blocks became free.
bool settle_pending(Parts& parts, std::size_t most_runs = SIZE_MAX);

// take_blocks() for what can do without: false where it would have to wait or be refused.
Task<Result<bool>> take_spare_blocks(Parts& parts, std::uint64_t count, std::vector<PhysicalRun>& into);

}  // namespace coppice
