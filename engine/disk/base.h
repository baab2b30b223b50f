// Base: the read-only image that shows through the holes of every disk and snapshot of a tree.
//
// Its blocks are read as they are, below the checksums of the pool; behind its end are zeroes. It is never
// written. Bases: the bases of a store's trees, by root branch. Threads: the store's scheduler.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "coppice/block_device.h"
#include "coppice/result.h"
#include "coppice/scheduler.h"
#include "io/block_file.h"
#include "tree/tree.h"

namespace coppice {

struct Base {
  std::unique_ptr<BlockFile> file;  // null: it can't be used
  std::uint64_t size_bytes = 0;     // as it was when the disk was made
  std::string problem;              // why it can't be used: "is not there"
  // Whether it was written since it was opened, as far as that is cheap to see. Blocking. Empty: it never is.
  std::function<bool()> was_written;
  bool may_be_same = false;  // with a problem: size and samples fit

  [[nodiscard]] BlockIndex end() const { return BlockIndex{round_up(size_bytes, kBlockBytes) / kBlockBytes}; }
};
// Who reads from one holds it, so that it can be let go of meanwhile.
using BasePointer = std::shared_ptr<Base>;

class Bases {
 public:
  explicit Bases(const Tree& tree) : tree_(tree) {}
  void set(BranchId root, BasePointer base) { bases_[root] = std::move(base); }
  void drop(BranchId root) { bases_.erase(root); }
  // Of those whose trees are gone.
  void let_go() {
    std::erase_if(bases_, [this](const auto& entry) { return !tree_.bases().contains(entry.first); });
  }
  // Null: holes of this branch are zeroes. The tree decides; what it has and nobody opened can't be read.
  [[nodiscard]] BasePointer under(BranchId branch) const {
    const BaseValue* const known = tree_.base(branch);
    return known == nullptr ? nullptr : find(tree_.root_of(branch), *known);
  }

 private:
  [[nodiscard]] BasePointer find(BranchId root, const BaseValue& known) const;
  const Tree& tree_;
  std::map<BranchId, BasePointer> bases_;
};

// Part of a read: blocks [first, +) of the base, which end before Base::end().
struct BaseRead {
  BlockIndex first;
  std::span<std::byte> into;
  IoRequest request;
};
// Submits it; its latch arrives, at once where there is nothing to read. What is behind the last byte of the
// base is zeroed.
void submit_read(Base& base, BaseRead& read, Latch& latch);
Result<> to_result(const BaseRead& read);
// One such read, awaited.
Task<Result<>> read_base(Base& base, BlockIndex first, std::span<std::byte> into);

// Where in a range of the base something may be: holes of a file are told apart, in whole blocks. Stops early
// after `max`.
Task<std::vector<Extent>> base_extents(Scheduler& scheduler, Base& base, std::uint64_t offset_bytes,
                                       std::uint64_t end_bytes, std::size_t max);

}  // namespace coppice
