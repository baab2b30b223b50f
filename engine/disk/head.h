// Head: the live state of a disk that is open, shared by all devices on it.
#pragma once

#include <string>

#include "disk/parts.h"
#include "disk/range_lock.h"

namespace coppice {

// Whether the disk's user flushes behind every few writes: then their records are staged early.
class FlushRhythm {
 public:
  void wrote() {
    if (++writes_ > kFew) flushes_often_ = false;
  }
  void flushed() {
    if (writes_ != 0) flushes_often_ = writes_ <= kFew;
    writes_ = 0;
  }
  [[nodiscard]] bool flushes_often() const { return flushes_often_; }

 private:
  static constexpr std::uint32_t kFew = 4;
  std::uint32_t writes_ = 0;
  bool flushes_often_ = false;
};

struct Head {
  Head(Scheduler& scheduler, NodeId node_id, BranchId branch_id, std::string disk_name)
      : node(node_id), branch(branch_id), name(std::move(disk_name)), lock(scheduler) {}
  NodeId node;
  BranchId branch;
  std::string name;  // for messages
  RangeLock lock;
  FlushRhythm rhythm;
  bool strict = false;  // the disk's policy; it changes only while nobody has the disk open

  [[nodiscard]] View view(const Parts& parts) const { return {branch, parts.tree.branch(branch).current}; }
};

}  // namespace coppice
