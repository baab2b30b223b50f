// What of a disk or snapshot is allocated, counted without holding anybody up. A snapshot stays as it is, so
// its count is kept, and those that continue from it are counted by what changed. Threads: the store's
// scheduler.
#pragma once

#include <chrono>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "coppice/store.h"
#include "disk/parts.h"
#include "tree/tree.h"

namespace coppice {

class AllocatedCounts {
 public:
  AllocatedCounts(Tree& tree, Parts& parts) : tree_(tree), parts_(parts) {}
  // The node and those it continues from stay readable meanwhile: who asks keeps them (line_of,
  // TreeNode::keeps).
  using Line = std::vector<NodeId>;
  // The node and live ones that it continues from, as far as it takes to count it.
  [[nodiscard]] Line line_of(const TreeNode& node) const;
  // Of the line's first. What was not looked at within `budget` counts as allocated, and may be that of one
  // that it continues from. The next call for a snapshot, or one that continues from it, goes on from there.
  // A single step may take longer than that.
  Task<Result<Store::Allocated>> count(Line line, std::chrono::nanoseconds budget);
  // A base was opened, exchanged or given up: what it shows may have other holes now.
  void forget() {
    known_.clear();
    ++forgotten_;
  }

 private:
  // Of [0, up_to) bytes.
  struct Count {
    std::uint64_t bytes = 0;
    std::uint64_t up_to = 0;
  };
  Task<Result<>> whole(const TreeNode& node, std::chrono::nanoseconds deadline, Count& count);
  Task<Result<bool>> beside(const TreeNode& node, const TreeNode& above, std::chrono::nanoseconds deadline,
                            Count& count);
  Task<Result<std::uint64_t>> leaf_bytes(const TreeNode& node, LeafIndex leaf, bool on_base);
  // `forgotten`: how often that was when the count began.
  void keep(const TreeNode& node, Count count, std::uint64_t forgotten);
  [[nodiscard]] Count known(NodeId node) const;

  Tree& tree_;
  Parts& parts_;
  std::unordered_map<NodeId, Count> known_;
  std::uint64_t forgotten_ = 0;
};

}  // namespace coppice
