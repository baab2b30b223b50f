#include "map_model.h"

#include <algorithm>
#include <utility>

namespace coppice::test {

namespace {

std::string name(View view) {
  return "(" + std::to_string(view.branch.value) + "," + std::to_string(view.epoch.value) + ")";
}

}  // namespace

MapModel::MapModel(ModelSettings settings, OpenStore open)
    : settings_(settings), random_(settings.seed), open_(std::move(open)), scheduler_(settings.seed + 1) {
  meta_ = open_();
  map_ = std::make_unique<LeafMap>(scheduler_, *meta_, oracle_, settings_.limit_bytes);
  oracle_.add_branch({});
}

void MapModel::complain(std::string text) {
  if (failure_.empty()) failure_ = std::move(text);
}

std::string MapModel::run(unsigned steps) {
  for (unsigned i = 0; i < steps && failure_.empty(); ++i) {
    if (running_ < settings_.tasks) step();
    for (std::uint64_t turns = below(6); turns > 0; --turns) scheduler_.turn();
  }
  drain();
  if (failure_.empty()) verify_all();
  reopen();
  if (failure_.empty()) verify_all();
  return failure_;
}

void MapModel::step() {
  const std::uint64_t dice = below(100);
  if (dice < 40) return start_write();
  if (dice < 58) return start_read();
  if (dice < 65) return start_scan();
  if (dice < 71) return start_changes();
  if (dice < 80) return start_reclaim();
  if (dice < 86 && !checkpointing_) return spawn(checkpoint(below(3) == 0 ? 200 : 4000));
  if (dice < 95) return oracle_.bump(any_branch());
  if (dice < 98) return fork();
  if (dice < 99) return drop();
  if (below(4) == 0) reopen();
}

void MapModel::drain() {
  while (scheduler_.turn()) {
  }
  if (running_ != 0) complain("tasks are stuck");
}

void MapModel::reopen() {
  drain();
  map_->begin_collect(oracle_.newest_epoch().next());
  spawn(checkpoint(1000));
  drain();
  if (map_->dirty_bytes() != 0) complain("dirty after a checkpoint without writers");
  map_.reset();
  meta_.reset();
  meta_ = open_();
  map_ = std::make_unique<LeafMap>(scheduler_, *meta_, oracle_, settings_.limit_bytes);
}

void MapModel::verify_all() {
  const LeafIndex end{settings_.leaves * kLeafStride};
  for (const auto& [id, branch] : oracle_.branches) {
    for (Epoch epoch = branch.first; epoch <= branch.current; epoch = epoch.next()) {
      for (std::uint64_t leaf = 0; leaf < settings_.leaves; ++leaf) {
        spawn(read({id, epoch}, LeafIndex{leaf * kLeafStride}));
      }
      spawn(scan({id, epoch}, LeafIndex{}, end, 1000));
      drain();
    }
    spawn(changes(id, Epoch{}, branch.current, LeafIndex{}, end, 1000));
    drain();
  }
}

BranchId MapModel::any_branch() {
  auto at = oracle_.branches.begin();
  std::advance(at, static_cast<std::ptrdiff_t>(below(oracle_.branches.size())));
  return at->first;
}

View MapModel::any_view() {
  const BranchId id = any_branch();
  const auto& branch = oracle_.branches.at(id);
  return {id, branch.first.next(below(branch.current.value - branch.first.value + 1))};
}

void MapModel::start_write() {
  const BranchId branch = any_branch();
  const LeafIndex leaf = any_leaf();
  const Epoch epoch = oracle_.branches.at(branch).current;
  auto& flight = flights_[{branch, leaf}];
  if (flight.writes != 0 && flight.epoch != epoch) return;
  flight.epoch = epoch;
  ++flight.writes;
  spawn(write(branch, leaf, epoch));
}

Task<void> MapModel::write(BranchId branch, LeafIndex leaf, Epoch epoch) {
  ++running_;
  ++users_[branch];
  CachedLeaf* from = map_->find({branch, epoch}, leaf);
  if (from == nullptr) {
    auto loaded = co_await map_->load({branch, epoch}, leaf);
    if (loaded) from = *loaded;
  }
  if (from == nullptr) {
    complain("a load failed");
  } else {
    check_leaf({branch, epoch}, *from);
    for (std::uint64_t pauses = below(6); pauses > 0; --pauses) co_await scheduler_.pause();
    apply_write(from, epoch);
    map_->unpin(from);
  }
  --flights_[{branch, leaf}].writes;
  --users_[branch];
  --running_;
}

void MapModel::apply_write(CachedLeaf* from, Epoch epoch) {
  const BranchId branch = from->branch;
  const LeafIndex index = from->index;
  const auto first = static_cast<unsigned>(below(kLeafBlocks));
  const auto count = static_cast<unsigned>(1 + below(std::min<std::uint64_t>(kLeafBlocks - first, 8)));
  const std::uint64_t mask = ((std::uint64_t{1} << count) - 1) << first;
  Blocks& blocks = oracle_.version_for(branch, index, epoch);
  CachedLeaf* version = map_->edit(from, epoch, mask);
  if (version->version != epoch || version->inherited || !version->dirty)
    complain("edit gave another version");
  const bool zero = below(5) == 0;
  if (zero) {
    version->leaf.zero(first, count, epoch);
  } else {
    version->leaf.map(first, count, PhysicalBlock{next_physical_}, epoch);
  }
  for (unsigned i = 0; i < count; ++i) {
    blocks.at(first + i) = zero ? Block{LeafRun::Kind::kZero, 0, epoch.value}
                                : Block{LeafRun::Kind::kData, next_physical_ + i, epoch.value};
  }
  next_physical_ += count + below(2);
  oracle_.branches.at(branch).changes[epoch][index] |= mask;
  check_leaf({branch, epoch}, *version);
}

void MapModel::start_read() {
  const View view = any_view();
  spawn(read(view, any_leaf()));
}

Task<void> MapModel::read(View view, LeafIndex leaf) {
  ++running_;
  ++users_[view.branch];
  CachedLeaf* entry = map_->find(view, leaf);
  if (entry == nullptr) {
    auto loaded = co_await map_->load(view, leaf);
    if (loaded) entry = *loaded;
  }
  if (entry == nullptr) {
    complain("a load failed");
  } else {
    check_leaf(view, *entry);
    for (std::uint64_t pauses = below(4); pauses > 0; --pauses) co_await scheduler_.pause();
    map_->unpin(entry);
  }
  --users_[view.branch];
  --running_;
}

void MapModel::check_leaf(View view, const CachedLeaf& leaf) {
  const auto expected = oracle_.resolve(view, leaf.index);
  const Blocks blocks = blocks_of(leaf.leaf);
  const std::string where = name(view) + " leaf " + std::to_string(leaf.index.value);
  if (blocks != (expected ? expected->blocks : Blocks{})) {
    complain("wrong blocks at " + where + ": has" + describe(blocks) + " wanted" +
             (expected ? describe(expected->blocks) : " none"));
  }
  if (leaf.inherited != (!expected || expected->branch != view.branch))
    complain("wrongly inherited at " + where);
  if (!leaf.inherited && leaf.version != expected->version) complain("wrong version at " + where);
  const View origin{leaf.origin_branch, leaf.origin_version};
  const View wanted = expected ? View{expected->branch, expected->version} : View{};
  if (origin != wanted) {
    complain("wrong origin at " + where + ": " + name(origin) + " wanted " + name(wanted));
  }
}

void MapModel::start_scan() {
  const View view = any_view();
  const LeafIndex from{below(settings_.leaves * kLeafStride)};
  const LeafIndex to{from.value + below(settings_.leaves * kLeafStride)};
  spawn(scan(view, from, to, 1 + below(settings_.leaves)));
}

Task<void> MapModel::scan(View view, LeafIndex from, LeafIndex to, std::size_t max) {
  ++running_;
  ++users_[view.branch];
  auto found = co_await map_->scan(view, from, to, max);
  auto expected = oracle_.present(view, from, to);
  if (expected.size() > max) expected.resize(max);
  if (!found || found->size() != expected.size()) {
    complain("a scan of " + name(view) + " gave another number of leaves");
  } else {
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const auto& row = found->at(i);
      const auto wanted = oracle_.resolve(view, expected[i]);
      if (row.index != expected[i] || row.origin_branch != wanted->branch ||
          row.origin_version != wanted->version || blocks_of(row.leaf) != wanted->blocks) {
        complain("a scan of " + name(view) + " gave another leaf " + std::to_string(row.index.value));
      }
    }
  }
  --users_[view.branch];
  --running_;
}

void MapModel::start_changes() {
  const BranchId branch = any_branch();
  const Epoch after{below(any_view().epoch.value + 1)};
  const LeafIndex from{below(settings_.leaves * kLeafStride)};
  const LeafIndex to{from.value + below(settings_.leaves * kLeafStride)};
  spawn(changes(branch, after, after.next(below(40)), from, to, 1 + below(settings_.leaves)));
}

Task<void> MapModel::changes(BranchId branch, Epoch after, Epoch up_to, LeafIndex from, LeafIndex to,
                             std::size_t max) {
  ++running_;
  ++users_[branch];
  auto found = co_await map_->changes(branch, after, up_to, from, to, max);
  std::map<LeafIndex, std::uint64_t> expected;
  for (const auto& [epoch, leaves] : oracle_.branches.at(branch).changes) {
    if (epoch <= after || epoch > up_to) continue;
    for (const auto& [leaf, mask] : leaves) {
      if (leaf >= from && leaf < to) expected[leaf] |= mask;
    }
  }
  while (expected.size() > max) expected.erase(std::prev(expected.end()));
  const auto same = [](const LeafMap::Change& change, const auto& wanted) {
    return change.leaf == wanted.first && change.mask == wanted.second;
  };
  if (!found || !std::ranges::equal(*found, expected, same)) {
    complain("wrong changes of " + name({branch, up_to}) + " after " + std::to_string(after.value));
  }
  --users_[branch];
  --running_;
}

Task<void> MapModel::checkpoint(std::size_t max_bytes) {
  ++running_;
  checkpointing_ = true;
  map_->begin_collect(oracle_.newest_epoch().next());
  for (;;) {
    MetaBatch batch;
    if (!map_->collect_dirty(batch, max_bytes)) break;
    for (std::uint64_t pauses = below(3); pauses > 0; --pauses) co_await scheduler_.pause();
    auto written = co_await in_background(scheduler_, [&] { return meta_->write(batch, false); });
    if (!written) complain("a batch was not written");
    for (std::uint64_t pauses = below(3); pauses > 0; --pauses) co_await scheduler_.pause();
    while (map_->collected_written(1 + below(4))) co_await scheduler_.pause();
  }
  MetaBatch last;
  while (map_->collect_deleted(last, 1 + below(3))) co_await scheduler_.pause();
  auto written = co_await in_background(scheduler_, [&] { return meta_->write(last, false); });
  if (!written) complain("the last batch was not written");
  for (std::uint64_t pauses = below(3); pauses > 0; --pauses) co_await scheduler_.pause();
  while (map_->collected_written(1 + below(4))) co_await scheduler_.pause();
  checkpointing_ = false;
  --running_;
}

// Any version that no child sees and no writer is at; the reclaimer is choosier still.
void MapModel::start_reclaim() {
  const BranchId branch = any_branch();
  auto& leaves = oracle_.branches.at(branch).leaves;
  const LeafIndex leaf = any_leaf();
  if (!leaves.contains(leaf) || leaves.at(leaf).empty() || flights_[{branch, leaf}].writes != 0) return;
  auto& versions = leaves.at(leaf);
  auto at = versions.begin();
  std::advance(at, static_cast<std::ptrdiff_t>(below(versions.size())));
  const LeafKey key{branch, leaf, at->first};
  if (oracle_.inherited(key)) return;
  if (below(2) != 0) {
    versions.erase(at);
    return spawn(punch(key, ~std::uint64_t{0}));
  }
  const std::uint64_t mask = random_() & random_();
  // Others must not see it before and after while it is on its way: run it alone.
  drain();
  if (!versions.contains(key.version)) return;
  for (unsigned i = 0; i < kLeafBlocks; ++i) {
    if ((mask >> i) & 1) versions.at(key.version).at(i) = {};
  }
  spawn(punch(key, mask));
  drain();
}

Task<void> MapModel::punch(LeafKey version, std::uint64_t mask) {
  ++running_;
  ++users_[version.branch];
  auto done = co_await map_->punch_version(version, mask);
  if (!done) complain("a version could not be punched");
  --users_[version.branch];
  --running_;
}

void MapModel::fork() {
  if (oracle_.branches.size() >= settings_.max_branches) return;
  const View at = any_view();
  for (const auto& [place, flight] : flights_) {
    if (place.first == at.branch && flight.writes != 0 && flight.epoch <= at.epoch) return;
  }
  if (at.epoch == oracle_.branches.at(at.branch).current) oracle_.bump(at.branch);
  oracle_.add_branch({at.branch, at.epoch});
}

void MapModel::drop() {
  const BranchId branch = any_branch();
  if (oracle_.branches.size() == 1 || oracle_.has_children(branch) || users_[branch] != 0) return;
  map_->drop_branch(branch);
  oracle_.branches.erase(branch);
}

}  // namespace coppice::test
