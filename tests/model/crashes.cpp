// What a crash leaves, found out and compared: of a verb that was under way all or nothing; of each block of
// a disk one of what it held since it was last flushed or, behind a mere kill, since it was last answered
// for.
#include <algorithm>

#include "world.h"

namespace coppice::test {

void World::learn_heads() {
  for (const auto& [disk, model] : disks_) {
    auto info = run(store().info({disk, ""}));
    require(info, "info " + disk);
    nodes_.at(model.head).id = info->id;
  }
}

// Often it dies while it opens, too.
void World::reopen_after_crash() {
  for (bool opened = false; !opened;) {
    lost_power_ = lost_power_ || host_.lost_power();
    note(host_.lost_power() ? "power cut" : "kill");
    try {
      if (one_in(4)) host_.arm(1 + below(400));
      require(host_.open(), "open behind a crash");
      opened = true;
    } catch (const Crashed&) {
    }
    host_.arm(0);
  }
}

void World::recover() {
  for (auto& [disk, device] : devices_) (void)device.release();
  devices_.clear();
  lost_power_ = false;
  reopen_after_crash();
  // Another crash may come while it is found out: what a recovery has brought stays.
  for (bool settled = false; !settled;) {
    try {
      if (one_in(4)) host_.arm(1 + below(300));
      settle_verb();
      for (const auto& [disk, model] : disks_) settle_content(disk);
      settled = true;
    } catch (const Crashed&) {
      reopen_after_crash();
    }
    host_.arm(0);
  }
  pending_ = {};
  in_flight_.clear();
  check_tree();
  for (const auto& [disk, model] : disks_) tidy_up(disk);
  if (one_in(4)) return verify_all();
  check_store(false);
  for (const auto& [disk, model] : disks_) verify_node(model.head);
  verify_node(some_node());
}

bool World::tree_fits() {
  try {
    compare_tree();
    return true;
  } catch (const Mismatch&) {
    return false;
  }
}

void World::settle_verb() {
  if (pending_.settle) return pending_.settle();
  if (!pending_.effect || tree_fits()) return;
  note("it had happened");
  std::exchange(pending_.effect, {})();
}

void World::settle_content(const std::string& disk) {
  ModelNode& head = nodes_.at(head_of(disk));
  Open open = std::exchange(in_flight_[disk], {});
  if (lost_power_) {
    for (auto& [block, versions] : head.unflushed) {
      auto& all = open[block];
      all.insert(all.end(), versions.begin(), versions.end());
    }
  }
  in_flight_[disk] = open;  // until all of it is known
  const auto reader = this->open({disk, ""}, Access::kReadOnly);
  std::vector<std::byte> bytes(kBlockBytes);
  for (auto& [block, versions] : open) {
    const std::uint64_t at = block * kBlockBytes;
    const auto found = std::span(bytes).first(std::min(kBlockBytes, head.content.size_bytes() - at));
    require(run(reader->read(at, found)), disk + " behind a crash");
    versions.push_back(head.content.block(block));
    settle_block(disk, block, found, versions);
  }
  in_flight_.erase(disk);
  head.unflushed.clear();
}

// One version whole; else sector by sector one of them each, unless the disk is strict.
void World::settle_block(const std::string& disk, std::uint64_t block, std::span<const std::byte> found,
                         const std::vector<VersionPointer>& may_hold) {
  Content& content = content_of(disk);
  const auto holds = [&](const VersionPointer& version, std::uint64_t offset, std::uint64_t length) {
    return std::memcmp(bytes_of(version) + offset, found.data() + offset, length) == 0;
  };
  std::set<VersionPointer> fitting;
  for (const VersionPointer& version : may_hold)
    if (holds(version, 0, found.size())) fitting.insert(version);
  if (fitting.size() == 1) return content.set_block(block, *fitting.begin());
  if (!fitting.empty()) {
    // Nobody can tell which one it is, nor who shares it.
    const VersionPointer version = *fitting.begin();
    for (const VersionPointer& each : fitting) blur(block, each);
    return content.set_block(block, either_version(version));
  }
  const std::string where =
      disk + ": block " + std::to_string(block) + " behind a " + (lost_power_ ? "power cut" : "kill");
  expect(!disks_.at(disk).strict, where + " is torn on a strict disk, or foreign");
  Version torn;
  for (std::uint64_t at = 0; at < found.size(); at += kSectorBytes) {
    const std::uint64_t length = std::min(kSectorBytes, found.size() - at);
    const bool legal = std::ranges::any_of(
        may_hold, [&](const VersionPointer& version) { return holds(version, at, length); });
    expect(legal, where + ": sector " + std::to_string(at / kSectorBytes) + " holds none of the " +
                      std::to_string(may_hold.size()) + " it may");
    std::memcpy(torn.bytes.data() + at, found.data() + at, length);
  }
  torn.space = Space::kEither;
  content.set_block(block, std::make_shared<Version>(torn));
}

void World::note_unflushed(ModelNode& head, std::uint64_t block, const VersionPointer& before,
                           const VersionPointer& after) {
  if (!host_.dies()) return;
  auto& versions = head.unflushed[block];
  for (const VersionPointer& version : {before, after})
    if (std::ranges::find(versions, version) == versions.end()) versions.push_back(version);
}

// What a crash under a step leaves standing that the others don't expect.
void World::tidy_up(const std::string& disk) {
  auto info = run(store().info({disk, ""}));
  require(info, "info " + disk);
  if (info->base && info->base->flatten) require(run(store().stop_flatten(disk)), "stop of flatten " + disk);
  if (disks_.at(disk).quota_bytes != kMaxDiskBytes) set_quota(disk, kMaxDiskBytes);
}

}  // namespace coppice::test
