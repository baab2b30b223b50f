// What a new slab begins with, and its header made anew.
#pragma once

#include <cstddef>
#include <span>

#include "coppice/types.h"
#include "layout/slab.h"

namespace coppice {

// The first copy of every bitmap page as an empty page of sequence 1, in `front`, which is zero and holds the
// slab's metadata. So two copies of zeroes are never what a slab says of itself.
void seal_empty_bitmaps(SlabLayout layout, PhysicalBlock slab_start, std::span<std::byte> front);

}  // namespace coppice
