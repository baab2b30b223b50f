// What was written since a point whose data may be gone: the change masks alone.
#pragma once

#include "tree/diff.h"

namespace coppice {

// Every block that was written or discarded between `base` and `to`, on either side of where their paths
// meet: all that diff_views() would tell, and of the others only those that read as zeroes in both. kInvalid:
// the views share no ancestor.
Task<Result<std::vector<BlockDifference>>> changed_blocks(Tree& tree, LeafMap& map, View base, View to,
                                                          BlockIndex from, BlockIndex end);

}  // namespace coppice
