// Who may write a disk beside whom.
#include <fmt/format.h>

#include "store/store_impl.h"

namespace coppice {

Outcome<> StoreImpl::require_no_other_way(NodeId node, const Spec& spec, const Holder& holder) const {
  const auto found = holders_.find(node);
  if (found == holders_.end() || holder.way.empty() || holder.shared) return {};
  for (const OpenBy& other : found->second) {
    if (!other.writes || other.shared || other.way.empty() || other.way == holder.way) continue;
    return refuse(ErrorKind::kBusy,
                  fmt::format("disk {} is open for writing by {} ({}): close it there, or open it read-only; "
                              "`coppice mount --shared` allows both",
                              spec.text(), other.way, other.description));
  }
  return {};
}

}  // namespace coppice
