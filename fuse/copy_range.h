// Copies a range of one disk, or snapshot, to another, inside the engine: from its buffers to its buffers,
// several pieces at once. A hole stays a hole.
//
// Blocks are not shared: see docs/architecture.md, "Why a copy copies". Lives on the reactor's thread; both
// devices outlive it.
#pragma once

#include <cstdint>

#include "coppice/block_device.h"
#include "coppice/buffer_pool.h"
#include "coppice/scheduler.h"

namespace coppice::fuse {

struct DevicePlace {
  BlockDevice* device = nullptr;
  std::uint64_t offset_bytes = 0;
};

// Answers how much was copied, from the start on, which may be less than asked. An error is told if nothing
// was: the next call meets it again.
Task<Result<std::uint64_t>> copy_range(Scheduler& scheduler, BufferPool& buffers, DevicePlace from,
                                       DevicePlace to, std::uint64_t length_bytes);

}  // namespace coppice::fuse
