#include "map_oracle.h"

#include <algorithm>
#include <set>

namespace coppice::test {

Blocks blocks_of(const Leaf& leaf) {
  Blocks blocks{};
  for (const LeafRun& run : leaf.runs()) {
    for (unsigned i = 0; i < run.count; ++i) {
      const bool data = run.kind == LeafRun::Kind::kData;
      blocks.at(run.first + i) = {run.kind, data ? run.physical.value + i : 0, run.birth.value};
    }
  }
  return blocks;
}

std::string describe(const Blocks& blocks) {
  std::string text;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (blocks.at(i) == Block{}) continue;
    text += ' ' + std::to_string(i) + ':' + std::to_string(blocks.at(i).physical) + '@' +
            std::to_string(blocks.at(i).birth);
  }
  return text;
}

BranchId MapOracle::add_branch(Parent parent) {
  const BranchId id{++branch_};
  const Epoch first = next_epoch();
  branches[id] = {parent, first, first, {}, {}};
  return id;
}

Blocks& MapOracle::version_for(BranchId branch, LeafIndex leaf, Epoch epoch) {
  auto& versions = branches.at(branch).leaves[leaf];
  if (auto at = versions.find(epoch); at != versions.end()) return at->second;
  const auto seen = resolve({branch, epoch}, leaf);
  return versions[epoch] = seen ? seen->blocks : Blocks{};
}

std::optional<MapOracle::Resolved> MapOracle::resolve(View view, LeafIndex leaf) const {
  while (view.branch != BranchId{}) {
    const Branch& branch = branches.at(view.branch);
    if (auto at = branch.leaves.find(leaf); at != branch.leaves.end()) {
      auto behind = at->second.upper_bound(view.epoch);
      if (behind != at->second.begin()) {
        --behind;
        return Resolved{behind->second, view.branch, behind->first};
      }
    }
    view = {branch.parent.branch, branch.parent.fork_epoch};
  }
  return std::nullopt;
}

std::vector<LeafIndex> MapOracle::present(View view, LeafIndex from, LeafIndex to) const {
  std::set<LeafIndex> all;
  for (const auto& [id, branch] : branches) {
    for (const auto& [leaf, versions] : branch.leaves) {
      if (leaf >= from && leaf < to) all.insert(leaf);
    }
  }
  std::vector<LeafIndex> found;
  for (const LeafIndex leaf : all) {
    if (resolve(view, leaf)) found.push_back(leaf);
  }
  return found;
}

bool MapOracle::inherited(const LeafKey& version) const {
  return std::ranges::any_of(branches, [&](const auto& entry) {
    const Parent& parent = entry.second.parent;
    if (parent.branch != version.branch) return false;
    const auto seen = resolve({parent.branch, parent.fork_epoch}, version.leaf);
    return seen && seen->branch == version.branch && seen->version == version.version;
  });
}

bool MapOracle::has_children(BranchId branch) const {
  return std::ranges::any_of(branches,
                             [&](const auto& entry) { return entry.second.parent.branch == branch; });
}

}  // namespace coppice::test
