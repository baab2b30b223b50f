// Writes: in place where the head alone owns the block, its mapping is proven and the disk is not strict,
// else redirected to a fresh block. Data is on the device, and its record staged, before the write completes.
#pragma once

#include <span>

#include "coppice/result.h"
#include "coppice/task.h"
#include "disk/head.h"
#include "disk/publish.h"

namespace coppice {

// Whole blocks from 4 KiB aligned memory. `entry` is held by the caller for exactly these blocks or more. All
// or nothing is published, except that a failed in-place write leaves what stands there. Answers the journal
// position that makes it durable.
Task<Result<std::uint64_t>> write_locked(Parts& parts, Head& head, RangeLock::Entry& entry, BlockIndex first,
                                         std::span<const std::byte> data);

// Makes the blocks read as zeroes by unmapping them. At most kZeroBlocksAtOnce.
inline constexpr std::uint64_t kZeroBlocksAtOnce = 64 * kLeafBlocks;
Task<Result<std::uint64_t>> zero_locked(Parts& parts, Head& head, RangeLock::Entry& entry, BlockIndex first,
                                        std::uint64_t count, Holes holes);

// Bytes a record of a write of `count` blocks may need in the journal, however it is split.
std::uint64_t record_room(std::uint64_t count);

}  // namespace coppice
