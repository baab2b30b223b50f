// MapOracle: what a LeafMap must answer, kept the plain way: every version of every leaf whole, in ordered
// maps. It is also the tree that the map under test asks for parents.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "map/leaf_map.h"

namespace coppice::test {

struct Block {
  LeafRun::Kind kind = LeafRun::Kind::kHole;
  std::uint64_t physical = 0;
  std::uint64_t birth = 0;
  bool operator==(const Block&) const = default;
};
using Blocks = std::array<Block, kLeafBlocks>;

Blocks blocks_of(const Leaf& leaf);
std::string describe(const Blocks& blocks);

class MapOracle final : public BranchParents {
 public:
  struct Branch {
    Parent parent;
    Epoch first;
    Epoch current;
    std::map<LeafIndex, std::map<Epoch, Blocks>> leaves;
    std::map<Epoch, std::map<LeafIndex, std::uint64_t>> changes;
  };
  struct Resolved {
    Blocks blocks{};
    BranchId branch;
    Epoch version;
  };

  [[nodiscard]] Parent parent_of(BranchId branch) const override { return branches.at(branch).parent; }

  BranchId add_branch(Parent parent);
  void bump(BranchId branch) { branches.at(branch).current = next_epoch(); }
  Epoch next_epoch() { return Epoch{++epoch_}; }
  [[nodiscard]] Epoch newest_epoch() const { return Epoch{epoch_}; }
  // The version to write to; made as a copy of what the epoch sees.
  Blocks& version_for(BranchId branch, LeafIndex leaf, Epoch epoch);
  [[nodiscard]] std::optional<Resolved> resolve(View view, LeafIndex leaf) const;
  [[nodiscard]] std::vector<LeafIndex> present(View view, LeafIndex from, LeafIndex to) const;
  // Whether a child branch inherits this version.
  [[nodiscard]] bool inherited(const LeafKey& version) const;
  [[nodiscard]] bool has_children(BranchId branch) const;

  std::map<BranchId, Branch> branches;

 private:
  std::uint64_t epoch_ = 0;
  std::uint64_t branch_ = 0;
};

}  // namespace coppice::test
