#include "disk/layers.h"

#include <algorithm>
#include <functional>

namespace coppice {

Layers::Layers(const Tree& tree, NodeId from) {
  const TreeNode* at = tree.node(from);
  while (at != nullptr && at->value.parent.value != 0) {
    at = tree.node(at->value.parent);
    if (at != nullptr && at->value.state == NodeState::kSnapshot && !at->pending)
      snapshots_.push_back(at->value.epoch);
  }
  base_depth_ = static_cast<std::uint32_t>(snapshots_.size()) + 2;
}

std::uint32_t Layers::depth_of(Epoch birth) const {
  const auto older = std::ranges::upper_bound(snapshots_, birth, std::ranges::greater{});
  return static_cast<std::uint32_t>(older - snapshots_.begin()) + 1;
}

}  // namespace coppice
