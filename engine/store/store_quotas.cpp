// What disks may take of the pool.
#include <algorithm>

#include "store/store_impl.h"
#include "tree/fate.h"

namespace coppice {

QuotaInfo StoreImpl::quota_of(DiskId disk) const {
  QuotaInfo info;
  const auto& quotas = engine_->tree().quotas();
  const auto place = quotas.find(disk);
  if (place != quotas.end()) info.limit_bytes = place->second.limit_bytes;
  const auto blocks = engine_->parts().charges.blocks(disk);
  if (blocks) info.charged_bytes = *blocks * kBlockBytes;
  return info;
}

Task<Outcome<>> StoreImpl::set_quota(std::string disk, std::uint64_t limit_bytes) {
  return exclusively(do_set_quota(std::move(disk), limit_bytes));
}

Task<Outcome<>> StoreImpl::do_set_quota(std::string name, std::uint64_t limit_bytes) {
  auto disk = require_disk(name);
  if (!disk) co_return std::unexpected(disk.error());
  const DiskId id = (*disk)->id;
  Tree& tree = engine_->tree();
  if (limit_bytes == quota_of(id).limit_bytes) co_return Outcome<>{};
  Outcome<> counted;
  if (limit_bytes != 0) counted = co_await count_charge(id, limit_bytes);
  if (!counted) co_return counted;
  const auto plan = [&] {
    return limit_bytes == 0 ? tree.plan_no_quota(id) : tree.plan_quota(id, {limit_bytes});
  };
  auto done = co_await change(plan, "disk " + name);
  Charges& charges = engine_->parts().charges;
  if (done && limit_bytes != 0) charges.set_limit(id, limit_bytes / kBlockBytes);
  // What failed has changed nothing: one that had no quota is not counted either.
  if (!tree.quotas().contains(id)) charges.end(id);
  co_return done;
}

// Before the disk is written.
Task<Outcome<>> StoreImpl::count_for_quota(DiskId id) {
  const auto quota = engine_->tree().quotas().find(id);
  if (quota == engine_->tree().quotas().end()) co_return Outcome<>{};
  auto counted = co_await count_charge(id, quota->second.limit_bytes);
  co_return counted;
}

// Behind the reclaimer: then all that the disk has taken is seen by its nodes, and no verb takes one away.
// Its writers wait between two requests.
Task<Outcome<>> StoreImpl::count_charge(DiskId id, std::uint64_t limit_bytes) {
  Charges& charges = engine_->parts().charges;
  if (charges.blocks(id)) co_return Outcome<>{};
  Tree& tree = engine_->tree();
  const std::string name = tree.disk(id)->value.name;
  engine_->reclaimer().look_again();
  housekeeper_.wake_reclaimer();
  auto reclaimed = co_await housekeeper_.reclaimed();
  if (!reclaimed) co_return refuse(reclaimed.error(), "disk " + name);
  const std::shared_ptr<Head> head = engine_->head(tree.disk(id)->value.head, name);
  RangeLock::Entry entry;
  entry.end = UINT64_MAX;
  co_await head->lock.acquire(entry);
  auto blocks = co_await charged_blocks(tree, engine_->map(), id);
  if (blocks) charges.begin(id, *blocks, limit_bytes / kBlockBytes);
  head->lock.release(entry);
  if (!blocks) co_return refuse(blocks.error(), "disk " + name);
  co_return Outcome<>{};
}

}  // namespace coppice
