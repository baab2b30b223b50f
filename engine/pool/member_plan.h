// How a new pool is divided: sizes of the journal and of the slabs, for each member. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "coppice/result.h"
#include "layout/superblock.h"

namespace coppice {

struct MemberSize {
  std::string path;
  std::uint64_t size_bytes = 0;  // that it has from the start; 0 for a file that grows
  std::uint64_t room_bytes = 0;  // of a file that grows: free on its file system
  bool grows = false;
};

// Superblocks with the geometry filled in, the rest as Superblock's defaults. Refuses a member without room
// for a slab, naming it. A slab is the largest power of two of which eight fit into what is there, smaller
// where more than 1/32 would be left over at the end, and never outside kMinSlabBlocks … kDefaultSlabBlocks.
Outcome<std::vector<Superblock>> plan_members(std::span<const MemberSize> members);

// What this engine needs of a superblock's numbers beyond what its decoder has checked: slabs are found by
// shifting, and the journal stands in member 0.
bool geometry_is_sane(const Superblock& superblock);

// What of a member of fixed size no slab reaches.
std::uint64_t unused_bytes(const Superblock& superblock, std::uint64_t size_bytes);

// A file of fixed size that somebody made longer gets as many slabs as fit now.
void use_growth(Superblock& superblock, std::uint64_t size_bytes);

// Up to where the slabs reach that the superblock names.
std::uint64_t used_bytes(const Superblock& superblock);

}  // namespace coppice
