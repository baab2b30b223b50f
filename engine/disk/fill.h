// Filling: what a head still sees of its base is written into the pool, leaf by leaf, as a guest would write
// it. Nothing else about it is special: who reads or crashes meanwhile finds the base or the copy, which are
// alike. Where the base is zero holes stay holes, which without a base are zero.
#pragma once

#include "disk/head.h"

namespace coppice {

// One leaf, as far as `end`. Answers how many blocks were written.
Task<Result<std::uint64_t>> fill_from_base(Parts& parts, Head& head, LeafIndex leaf, BlockIndex end);

}  // namespace coppice
