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
  std::uint64_t size_bytes = 0;  // meaningless if it grows
  bool grows = false;
};

// Superblocks with the geometry filled in, the rest as Superblock's defaults. Refuses a member without room
// for a slab, naming it.
Outcome<std::vector<Superblock>> plan_members(std::span<const MemberSize> members);

// What this engine needs of a superblock's numbers beyond what its decoder has checked: slabs are found by
// shifting, and the journal stands in member 0.
bool geometry_is_sane(const Superblock& superblock);

// Up to where the slabs reach that the superblock names.
std::uint64_t used_bytes(const Superblock& superblock);

}  // namespace coppice
