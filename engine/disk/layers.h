// Layers: how far back what a view sees was written, counted in snapshots.
//
// The snapshots on the way from a node to the root part its history into layers. The youngest, 1, is what was
// written since the last of them; a block of depth N is seen by the N - 1 youngest of them too. Removing a
// snapshot makes one layer of two. A base lies behind all of them. Threads: the store's scheduler.
#pragma once

#include <cstdint>
#include <vector>

#include "tree/tree.h"

namespace coppice {

class Layers {
 public:
  // Without any: all that is allocated has depth 1.
  Layers() = default;
  Layers(const Tree& tree, NodeId from);

  [[nodiscard]] std::uint32_t depth_of(Epoch birth) const;
  [[nodiscard]] std::uint32_t depth_of_base() const { return base_depth_; }

 private:
  std::vector<Epoch> snapshots_;  // youngest first: epochs only fall on the way to the root
  std::uint32_t base_depth_ = 1;
};

}  // namespace coppice
