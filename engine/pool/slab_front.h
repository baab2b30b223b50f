// What a new slab begins with, and its header made anew.
#pragma once

#include <cstddef>
#include <span>

#include "coppice/types.h"
#include "layout/slab.h"

namespace coppice {

// Both copies of every bitmap page as empty pages, in `front`, which is zero and holds the slab's metadata.
// So zeroes are never what a slab says of itself: a piece of a file that was lost does not read as free
// space.
void seal_empty_bitmaps(SlabLayout layout, PhysicalBlock slab_start, std::span<std::byte> front);

}  // namespace coppice
