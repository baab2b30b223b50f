// What of a disk is allocated, without holding anybody up.
#include "store/store_impl.h"

namespace coppice {

Task<Outcome<Store::Allocated>> StoreImpl::allocated(Spec spec, std::chrono::nanoseconds budget) {
  auto node = require_node(spec);
  if (!node) co_return std::unexpected(node.error());
  Tree& tree = engine_->tree();
  const AllocatedCounts::Line line = allocated_counts_.line_of(**node);
  // They may be removed or rolled back meanwhile; what they name stays readable until this is done.
  for (const NodeId id : line) ++tree.node(id)->keeps;
  auto answer = co_await allocated_counts_.count(line, budget);
  bool removed = false;
  for (const NodeId id : line) {
    TreeNode* kept = tree.node(id);
    --kept->keeps;  // kept: it is still there
    removed |= kept->value.state == NodeState::kDead;
  }
  if (removed) housekeeper_.wake_reclaimer();
  if (!answer) co_return refuse(answer.error(), spec.text());
  co_return *answer;
}

}  // namespace coppice
