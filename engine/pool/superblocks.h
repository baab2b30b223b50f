// Superblocks of pool members: the newest valid one of four places, and the next one behind it.
//
// Each state is written twice, as generations 2k and 2k + 1, to two of the four places; the other two keep
// the state before until both are synced. So one bad place never costs a state, and neither does a torn
// write. Threads: the store's scheduler.
#pragma once

#include <span>
#include <vector>

#include "coppice/result.h"
#include "coppice/task.h"
#include "io/block_file.h"
#include "layout/superblock.h"

namespace coppice {

struct FoundSuperblock {
  Superblock superblock;
  unsigned damaged = 0;  // places that can't be read or don't verify
  // Both places of the state that would follow are among them: torn when the power went, or lost since.
  bool newer_may_be_lost = false;
};
// The valid superblock of the highest generation. kInvalid: the file holds none at all. kCorrupt: all that it
// holds are damaged. kUnsupported: one is of a newer format, whatever the others say.
Task<Result<FoundSuperblock>> read_superblock(BlockFile& file);

// The second of the two generations of the state behind the one that `generation` belongs to.
constexpr std::uint64_t next_generation(std::uint64_t generation) {
  return (generation | 1) + 2;
}

struct SuperblockWrite {
  BlockFile* file = nullptr;
  Superblock superblock;
};
// Writes each to the places of its generation, an odd one, and the one before (`everywhere`: to all four, as
// a new member's first) and syncs the files.
enum class SuperblockPlaces : std::uint8_t { kOfGeneration, kEverywhere };
Task<Result<>> write_superblocks_to(std::span<const SuperblockWrite> writes, SuperblockPlaces places);

// fdatasync of all, in parallel, whether or not they are known to need it.
Task<Result<>> sync_files(std::vector<BlockFile*> files);

}  // namespace coppice
