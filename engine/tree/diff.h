// Diff: which blocks differ between two points of one tree. Cost follows what changed, not the disk.
#pragma once

#include <vector>

#include "coppice/result.h"
#include "coppice/task.h"
#include "map/leaf_map.h"
#include "tree/tree.h"

namespace coppice {

struct BlockDifference {
  BlockIndex first;
  std::uint64_t count = 0;
  bool zero = false;  // the second side reads as zeroes
};

// In order; what goes on where the last ends is one with it.
void append_difference(std::vector<BlockDifference>& into, const BlockDifference& found);

// Every block whose version differs, except where both read as zeroes, in order from `from` on. What a base
// shows is a version as any other. Exact to a
// block; a block rewritten with the same content counts as different. kInvalid: the views share no ancestor.
Task<Result<std::vector<BlockDifference>>> diff_views(Tree& tree, LeafMap& map, View a, View b,
                                                      BlockIndex from, BlockIndex end);

// Every block that does not read as zeroes from `view`: what differs from a disk that ends before `from`.
// Cost follows what is there, not what changed.
Task<Result<std::vector<BlockDifference>>> blocks_of_view(Tree& tree, LeafMap& map, View view,
                                                          BlockIndex from, BlockIndex end);

}  // namespace coppice
