#include <algorithm>
#include <utility>

#include "coppice/next_turn.h"
#include "map/leaf_map_impl.h"

namespace coppice {

namespace {

// Others wait for the background meanwhile, a guest's look-up among them.
constexpr std::size_t kLeavesPerVisit = 32;

// A look-up of so many levels takes less than handing it to another thread and back; each takes 3 us.
constexpr std::size_t kLevelsAtOnce = 4;
// So many in a row, and others have their turn: a loop over leaves would hold the reactor up.
constexpr unsigned kLookupsAtOnce = 16;

}  // namespace

Task<Result<CachedLeaf*>> LeafMap::load(View view, LeafIndex leaf) {
  const Impl::LoadKey key{view.branch, view.epoch, leaf};
  bool passing_deleted = false;
  for (;;) {
    if (CachedLeaf* hit = find(view, leaf)) co_return hit;
    if (auto running = impl_->loads.find(key); running != impl_->loads.end()) {
      auto other = running->second;
      co_await other->done.wait();
      if (other->error) co_return std::unexpected(*other->error);
      continue;
    }
    auto mine = std::make_shared<Impl::Load>(impl_->scheduler);
    impl_->loads.emplace(key, mine);
    auto entry = co_await impl_->read_and_install(view, leaf, passing_deleted);
    passing_deleted = true;
    if (!entry) mine->error = entry.error();
    impl_->loads.erase(key);
    mine->done.wake_all();
    if (!entry) co_return std::unexpected(entry.error());
    if (*entry != nullptr) co_return *entry;
  }
}

// Deleted versions that the store still has are seldom what is looked for, and there may be many: the first
// look does not know them, and is made again if it came upon one.
LeafMap::Impl::Plan LeafMap::Impl::plan_load(View view, LeafIndex leaf, bool passing_deleted) const {
  Plan plan{view, leaf, {}, {}, {}};
  for (const View& level : lineage_of(view, parents)) {
    if (cache.covering(level, leaf) != nullptr) {
      plan.base = level;
      break;
    }
    plan.unknown.push_back(level);
    if (!passing_deleted) continue;
    const auto end = erased.lower_bound({level.branch, leaf.next(), Epoch{}});
    plan.erased.insert(plan.erased.end(), erased.lower_bound({level.branch, leaf, Epoch{}}), end);
  }
  std::ranges::sort(plan.erased);
  return plan;
}

// What the store has in memory is looked up at once. Nothing: that is for the background, which also tells
// what is an error.
std::optional<LeafRead> LeafMap::Impl::read_in_memory(const Plan& plan) {
  if (plan.unknown.size() > kLevelsAtOnce || !plan.erased.empty()) return std::nullopt;
  const auto leaves = meta.leaves_in_memory();
  if (leaves == nullptr) return std::nullopt;
  auto read = read_leaf(*leaves, plan.unknown, plan.leaf, plan.erased);
  if (!read) return std::nullopt;
  return std::move(*read);
}

// Null: what was read is deleted; try again.
Task<Result<Entry*>> LeafMap::Impl::read_and_install(View view, LeafIndex leaf, bool passing_deleted) {
  const Reading reading(*this);
  const Plan plan = plan_load(view, leaf, passing_deleted);
  Entry* base = plan.base ? cache.covering(*plan.base, leaf) : nullptr;
  if (base != nullptr) ++base->pins;
  Result<LeafRead> read;
  if (auto at_once = read_in_memory(plan)) {
    read = std::move(*at_once);
    if (++looked_up_at_once % kLookupsAtOnce == 0) co_await NextTurn{scheduler};
  } else {
    read = co_await in_background(scheduler, [this, &plan] {
      const auto leaves = meta.iterate(Family::kLeaf, Reach::kPrefix);
      return read_leaf(*leaves, plan.unknown, plan.leaf, plan.erased);
    });
  }
  Entry* entry = nullptr;
  if (read) entry = install(plan, *read);
  if (base != nullptr) {
    --base->pins;
    cache.release(base);
  }
  cache.evict_to_limit();
  if (!read) co_return std::unexpected(read.error());
  co_return entry;
}

std::vector<LeafMap::Impl::Wanted> LeafMap::Impl::plan_loads(View view,
                                                             std::span<const Change> leaves) const {
  std::vector<Wanted> wanted;
  for (const Change& change : leaves) {
    if (cache.covering(view, change.leaf) != nullptr) continue;
    Wanted each{plan_load(view, change.leaf, false)};
    if (each.plan.base) each.base = cache.covering(*each.plan.base, change.leaf);
    if (each.base != nullptr) ++each.base->pins;
    wanted.push_back(std::move(each));
  }
  return wanted;
}

Task<void> LeafMap::prefetch(View view, std::span<const Change> leaves) {
  while (!leaves.empty()) {
    const auto some = leaves.first(std::min(leaves.size(), kLeavesPerVisit));
    leaves = leaves.subspan(some.size());
    co_await impl_->visit(view, some);
  }
}

Task<void> LeafMap::Impl::visit(View view, std::span<const Change> leaves) {
  const Reading reading(*this);
  std::vector<Wanted> wanted = plan_loads(view, leaves);
  if (wanted.empty()) co_return;
  co_await in_background(scheduler, [this, &wanted] {
    const auto iterator = meta.iterate(Family::kLeaf, Reach::kPrefix);
    for (Wanted& each : wanted)
      each.read = read_leaf(*iterator, each.plan.unknown, each.plan.leaf, each.plan.erased);
    return true;
  });
  for (Wanted& each : wanted) {
    Entry* entry = each.read ? install(each.plan, *each.read) : nullptr;
    if (entry != nullptr) --entry->pins;
    if (each.base == nullptr) continue;
    --each.base->pins;
    cache.release(each.base);
  }
  cache.evict_to_limit();
  // What is done with them comes behind a guest's request that waits by now.
  co_await NextTurn{scheduler};
}

// Lays memory over what was read: at each level the newest version counts, wherever it is. Pins the result.
Entry* LeafMap::Impl::install(const Plan& plan, LeafRead& read) {
  if (Entry* hit = cache.covering(plan.view, plan.leaf); hit != nullptr) {
    ++hit->pins;
    return hit;
  }
  for (std::size_t level = 0; level < plan.unknown.size(); ++level) {
    const View view = plan.unknown[level];
    StoredLeaf* stored = read.found && read.found->level == level ? &*read.found : nullptr;
    Entry* present = cache.newest_version(view, plan.leaf);
    if (present != nullptr && stored != nullptr && present->version < stored->version) present = nullptr;
    if (present == nullptr && stored == nullptr) continue;
    if (present == nullptr) {
      // In memory under this number it can only be as deleted.
      if (cache.exact({view.branch, plan.leaf, stored->version}) != nullptr) return nullptr;
    }
    if (level == 0) return install_version(plan, read, present, stored);
    const Epoch version = present != nullptr ? present->version : stored->version;
    return install_inherited(plan, read, present != nullptr ? present->leaf : stored->leaf, view.branch,
                             version);
  }
  if (!plan.base) return install_inherited(plan, read, {}, {}, {});
  const Entry* base = cache.covering(*plan.base, plan.leaf);
  if (base == nullptr) return nullptr;
  return install_inherited(plan, read, base->leaf, base->origin_branch, base->origin_version);
}

// Up to which epoch a version of the view's own branch (0: what it inherits) answers.
Epoch LeafMap::Impl::reach_of(const Plan& plan, const LeafRead& read, Epoch version) const {
  const Epoch reach = read.newer_exists ? plan.view.epoch : kForever;
  const Entry* next = cache.next_version({plan.view.branch, version}, plan.leaf);
  return next == nullptr ? reach : std::min(reach, Epoch{next->version.value - 1});
}

Entry* LeafMap::Impl::install_version(const Plan& plan, const LeafRead& read, Entry* present,
                                      StoredLeaf* stored) {
  if (present != nullptr) {
    present->valid_to = std::max(present->valid_to, reach_of(plan, read, present->version));
    present->referenced = true;
    ++present->pins;
    return present;
  }
  auto made = cache.make();
  made->leaf = std::move(stored->leaf);
  made->branch = made->origin_branch = plan.view.branch;
  made->index = plan.leaf;
  made->version = made->origin_version = stored->version;
  made->valid_to = reach_of(plan, read, stored->version);
  made->pins = 1;
  return cache.insert(std::move(made));
}

Entry* LeafMap::Impl::install_inherited(const Plan& plan, const LeafRead& read, const Leaf& leaf,
                                        BranchId origin, Epoch origin_version) {
  const Epoch reach = reach_of(plan, read, Epoch{});
  if (Entry* present = cache.inherited(plan.view.branch, plan.leaf); present != nullptr) {
    present->valid_to = std::max(present->valid_to, reach);
    present->referenced = true;
    ++present->pins;
    return present;
  }
  auto made = cache.make();
  made->leaf = leaf;
  made->branch = plan.view.branch;
  made->index = plan.leaf;
  made->valid_to = reach;
  made->inherited = true;
  made->origin_branch = origin;
  made->origin_version = origin_version;
  made->pins = 1;
  return cache.insert(std::move(made));
}

}  // namespace coppice
