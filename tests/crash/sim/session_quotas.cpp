// What disks may take of the pool: the limit holds, also behind a crash, and what is charged is what is
// there.
#include <fmt/format.h>

#include <array>

#include "session.h"
#include "tree/fate.h"

namespace coppice::sim {

namespace {

constexpr std::uint64_t kMostBlocks = 160;
// Writes that were planned in one epoch and are published in the next free less than was reckoned with. With
// up to four clients for each snapshot that came meanwhile, and some to spare.
constexpr std::uint64_t kMostUnderWay = 128;

}  // namespace

Task<void> Session::verb_quota(Rng& rng) {
  const std::string name = pick_disk(rng);
  if (name.empty()) co_return;
  co_await pause(name);
  PendingVerb& verb = shared_.pending;
  verb = {};
  verb.specs = {{name, ""}};
  verb.size = rng.once_in(4) ? 0 : rng.between(1, kMostBlocks) * kBlockBytes;
  verb.kind = PendingVerb::Kind::kQuota;
  const std::uint64_t limit = verb.size;
  auto done = co_await process_.store->set_quota(name, limit);
  conclude(done.has_value());
  if (done) note_quota(*shared_.oracle.disks[name], limit);
  if (!done) failed_rightly(done.error(), "quota");
  co_await resume(name);
}

// It may have more than that already: what, is seen when nobody writes to it.
void Session::note_quota(DiskModel& disk, std::uint64_t limit) {
  disk.quota_bytes = limit;
  disk.quota_over.reset();
}

// While nobody writes to it.
Task<void> Session::check_quota(DiskModel& disk) {
  auto info = co_await process_.store->info({disk.name, ""});
  if (!info || fault()) co_return;
  const QuotaInfo& quota = info->quota;
  if (quota.limit_bytes != disk.quota_bytes) {
    shared_.violate(
        fmt::format("{} may take {} bytes, not {}", disk.name, quota.limit_bytes, disk.quota_bytes));
    co_return;
  }
  if (disk.quota_bytes == 0) co_return;
  if (!quota.charged_bytes) {
    shared_.violate("what " + disk.name + " has taken is not counted, though it is open");
    co_return;
  }
  const std::uint64_t charged = *quota.charged_bytes;
  const std::uint64_t nodes = process_.engine->tree().next_node().value;
  const std::uint64_t slack = nodes == disk.quota_nodes ? 0 : kMostUnderWay * kBlockBytes;
  disk.quota_nodes = nodes;
  if (disk.quota_over && charged > std::max(disk.quota_bytes, *disk.quota_over) + slack) {
    shared_.violate(fmt::format("{} has taken {} bytes, and may take {} (it had {})", disk.name, charged,
                                disk.quota_bytes, *disk.quota_over));
  }
  disk.quota_over = charged;
}

// Two writes are under way at once, and the disk may take one block more.
Task<void> Session::play_quota() {
  constexpr std::uint64_t kLimit = 5 * kBlockBytes;
  co_await scene_disk("x", 64);
  co_await scene_write("x", 0, 4);
  co_await scene_settled();
  DiskModel& disk = *shared_.oracle.disks["x"];
  auto set = co_await process_.store->set_quota("x", kLimit);
  if (set) note_quota(disk, kLimit);
  co_await check_quota(disk);
  shared_.at_stake = true;
  for (const std::uint64_t block : std::to_array<std::uint64_t>({8, 16})) beside(scene_write("x", block, 1));
  while (tasks_ != 0) co_await sleep_for(process_.scheduler, std::chrono::microseconds(1));
  co_await check_quota(disk);
  co_await sleep_for(process_.scheduler, std::chrono::microseconds(200));
}

// Counted block by block, beside what was added up since the disk was opened. Behind the reclaimer.
Task<void> Session::count_charges() {
  for (const auto& [name, disk] : shared_.oracle.disks) {
    auto device = co_await process_.store->open_device({name, ""}, Access::kReadWrite, {"oracle"});
    if (!device) co_return;
    co_await check_quota(*disk);
    auto info = co_await process_.store->info({name, ""});
    Tree& tree = process_.engine->tree();
    auto counted = co_await charged_blocks(tree, process_.engine->map(), tree.find_disk(name)->id);
    if (!info || !counted || fault()) co_return;
    const auto charged = info->quota.charged_bytes;
    if (!charged || *charged == *counted * kBlockBytes) continue;
    shared_.violate(
        fmt::format("{} bytes are charged to {}, and {} are there", *charged, name, *counted * kBlockBytes));
  }
}

}  // namespace coppice::sim
