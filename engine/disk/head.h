// Head: the live state of a disk that is open, shared by all devices on it.
#pragma once

#include <string>

#include "disk/parts.h"
#include "disk/range_lock.h"

namespace coppice {

struct Head {
  Head(Scheduler& scheduler, NodeId node_id, BranchId branch_id, std::string disk_name)
      : node(node_id), branch(branch_id), name(std::move(disk_name)), lock(scheduler) {}
  NodeId node;
  BranchId branch;
  std::string name;  // for messages
  RangeLock lock;

  [[nodiscard]] View view(const Parts& parts) const { return {branch, parts.tree.branch(branch).current}; }
};

}  // namespace coppice
