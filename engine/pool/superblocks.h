// Superblocks of pool members: the newest valid one of four places, and the next one behind it.
// Threads: the store's scheduler.
#pragma once

#include <span>
#include <vector>

#include "coppice/result.h"
#include "coppice/task.h"
#include "io/block_file.h"
#include "layout/superblock.h"

namespace coppice {

// The valid superblock of the highest generation. kInvalid: the file holds none at all. kCorrupt: all that it
// holds are damaged. kUnsupported: one is of a newer format, whatever the others say.
Task<Result<Superblock>> read_superblock(BlockFile& file);

struct SuperblockWrite {
  BlockFile* file = nullptr;
  Superblock superblock;
};
// Writes each to the place of its generation (`everywhere`: to all four, as a new member's first) and syncs
// the files.
enum class SuperblockPlaces : std::uint8_t { kOfGeneration, kEverywhere };
Task<Result<>> write_superblocks_to(std::span<const SuperblockWrite> writes, SuperblockPlaces places);

// fdatasync of all, in parallel, whether or not they are known to need it.
Task<Result<>> sync_files(std::vector<BlockFile*> files);

}  // namespace coppice
