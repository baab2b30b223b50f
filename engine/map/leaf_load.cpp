#include <algorithm>
#include <utility>

#include "map/leaf_map_impl.h"

namespace coppice {

Task<Result<CachedLeaf*>> LeafMap::load(View view, LeafIndex leaf) {
  const Impl::LoadKey key{view.branch, view.epoch, leaf};
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
    auto entry = co_await impl_->read_and_install(view, leaf);
    if (!entry) mine->error = entry.error();
    impl_->loads.erase(key);
    mine->done.wake_all();
    if (!entry) co_return std::unexpected(entry.error());
    if (*entry != nullptr) co_return *entry;
  }
}

LeafMap::Impl::Plan LeafMap::Impl::plan_load(View view, LeafIndex leaf) const {
  Plan plan{view, leaf, {}, {}, {}};
  for (const View& level : lineage_of(view, parents)) {
    if (cache.covering(level, leaf) != nullptr) {
      plan.base = level;
      break;
    }
    plan.unknown.push_back(level);
    for (Entry* entry = cache.head(level.branch, leaf); entry != nullptr; entry = entry->older) {
      if (entry->erased) plan.erased.push_back(entry->key());
    }
  }
  std::ranges::sort(plan.erased);
  return plan;
}

// Null: what was read has been deleted meanwhile; try again.
Task<Result<Entry*>> LeafMap::Impl::read_and_install(View view, LeafIndex leaf) {
  const Reading reading(*this);
  const Plan plan = plan_load(view, leaf);
  Entry* base = plan.base ? cache.covering(*plan.base, leaf) : nullptr;
  if (base != nullptr) ++base->pins;
  auto read = co_await in_background(
      scheduler, [this, &plan] { return read_leaf(meta, plan.unknown, plan.leaf, plan.erased); });
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
  Epoch reach = read.newer_exists ? plan.view.epoch : kForever;
  for (Entry* entry = cache.head(plan.view.branch, plan.leaf); entry != nullptr; entry = entry->older) {
    if (entry->is_version() && entry->version > version)
      reach = std::min(reach, Epoch{entry->version.value - 1});
  }
  return reach;
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
