// What of a disk is allocated, without holding anybody up.
#include <algorithm>

#include "disk/device.h"
#include "store/store_impl.h"

namespace coppice {

namespace {

// 1,024 leaves: a fraction of a millisecond where all are there, next to nothing in a hole.
constexpr std::uint64_t kStepBytes = std::uint64_t{256} << 20;
constexpr std::size_t kStepExtents = 4096;

}  // namespace

Task<Outcome<Store::Allocated>> StoreImpl::allocated(Spec spec, std::chrono::nanoseconds budget) {
  auto node = require_node(spec);
  if (!node) co_return std::unexpected(node.error());
  Tree& tree = engine_->tree();
  const NodeId id = (*node)->id;
  const View view = tree.view_of(**node);
  const std::uint64_t size_bytes = (*node)->value.size_bytes;
  const auto deadline = scheduler_.now() + budget;
  Allocated answer;
  std::uint64_t at = 0;
  std::vector<Extent> extents;
  Result<> listed;
  // It may be removed or rolled back meanwhile; what it names stays readable until this is done.
  ++tree.node(id)->keeps;
  while (listed && at < size_bytes && scheduler_.now() < deadline) {
    extents.clear();
    const std::uint64_t length = std::min(kStepBytes, size_bytes - at);
    listed = co_await list_extents(engine_->parts(), view, at, length, kStepExtents, extents);
    for (const Extent& extent : extents) {
      answer.bytes += extent.allocated ? extent.length_bytes : 0;
      at = extent.offset_bytes + extent.length_bytes;
    }
  }
  TreeNode* kept = tree.node(id);
  --kept->keeps;  // kept: it is still there
  if (kept->value.state == NodeState::kDead) housekeeper_.wake_reclaimer();
  if (!listed) co_return refuse(listed.error(), spec.text());
  answer.exact = at >= size_bytes;
  answer.bytes += size_bytes - std::min(at, size_bytes);
  co_return answer;
}

}  // namespace coppice
