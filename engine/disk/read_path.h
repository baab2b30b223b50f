// Reads: map, coalesced I/O, verification. Never answers zeroes in place of lost data.
#pragma once

#include <span>

#include "coppice/result.h"
#include "coppice/task.h"
#include "disk/head.h"

namespace coppice {

// Whole blocks into 4 KiB aligned memory, as seen from `view`. A checksum that does not match is kCorrupt;
// `mismatch` then holds such a block of the disk and its address; none (address 0) where it is the map that
// can't be read.
struct Mismatch {
  BlockIndex block;
  PhysicalBlock address;
};
Task<Result<>> read_view(Parts& parts, View view, BlockIndex first, std::span<std::byte> into,
                         Mismatch& mismatch);

// The same for a disk's head. A block that does not verify is read again with its writers held off, since a
// write that raced with the read explains it; what still does not match is lost (kCorrupt, reported), unless
// it stands in a suspect granule and may have been written in place when the power went: then it is accepted
// once, and its checksum recomputed.
Task<Result<>> read_head(Parts& parts, Head& head, BlockIndex first, std::span<std::byte> into);
// For a writer that holds the range already.
Task<Result<>> read_head_locked(Parts& parts, Head& head, BlockIndex first, std::span<std::byte> into);
// Snapshots never change, so there is nothing to race with.
Task<Result<>> read_snapshot(Parts& parts, View view, BlockIndex first, std::span<std::byte> into);

}  // namespace coppice
