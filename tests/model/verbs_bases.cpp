// Disks over an image, and without it again.
#include <algorithm>

#include "world.h"

namespace coppice::test {

// The image that disks stand on: noise with zeroes in it, and an end inside a block.
void World::write_base() {
  base_bytes_ = host_.largest_disk() / (16 * kBlockBytes) * (5 * kBlockBytes) + 3 * kSectorBytes;
  std::vector<std::byte> bytes;
  for (std::uint64_t at = 0; at < base_bytes_; at += kBlockBytes) {
    auto version = std::make_shared<Version>(Version{{}, Space::kBase});
    const std::uint64_t length = std::min(kBlockBytes, base_bytes_ - at);
    if (at / kBlockBytes % 7 != 0) std::ranges::copy(random_bytes(length), version->bytes.begin());
    bytes.insert(bytes.end(), version->bytes.begin(),
                 version->bytes.begin() + static_cast<std::ptrdiff_t>(length));
    base_.push_back(std::move(version));
  }
  base_path_ = host_.write_base(bytes);
}

// While it is another image, what stands on it can't be read, and is lost no more than that.
void World::change_base() {
  std::set<std::string> over;
  for (const auto& [disk, model] : disks_)
    if (nodes_.at(model.head).base != 0) over.insert(disk);
  if (over.empty()) return;
  host_.arm(0);
  note("another base");
  devices_.clear();
  require(host_.close(), "close");
  host_.spoil_base();
  require(host_.open(), "open over another base");
  for (const auto& [disk, model] : disks_) {
    auto info = run(store().info({disk, ""}));
    require(info, "info " + disk);
    expect((info->base && !info->base->problem.empty()) == over.contains(disk),
           "whether the base of " + disk + " is the same");
    auto opened = run(store().open_device({disk, ""}, Access::kReadOnly, {"the model"}));
    expect(opened.has_value() != over.contains(disk),
           disk + " over another base: " + (opened ? "opened" : opened.error().message));
  }
  const std::string disk = *over.begin();
  require_refused(run(store().set_base(disk, {base_path_, -1})), ErrorKind::kInvalid,
                  "another base of " + disk);
  // Its snapshots can still be taken and removed.
  const std::string name = new_name("s");
  change(store().snapshot({{disk, name}}, {}), "snapshot over another base",
         [=, this] { record_snapshot(disk, name); });
  for (const int node : nodes_of(disk)) {
    const ModelNode& old = nodes_.at(node);
    if (old.snapshot.empty() || old.snapshot == name || !old.holds.empty() || cloned_away(node, {node}))
      continue;
    change(store().remove({old.spec()}, false), "rm over another base", [=, this] { drop_node(node); });
    break;
  }
  require(host_.close(), "close");
  host_.mend_base();
  require(host_.open(), "open");
  for (const auto& [each, model] : disks_) forget_unflushed(each);
  require(run(store().set_base(disk, {base_path_, -1})), "the same base of " + disk);
  for (const std::string& each : over) verify_node(head_of(each));
}

void World::create_over() {
  const std::string name = new_name("o");
  std::uint64_t size =
      one_in(2) ? 0 : (128 + below(host_.largest_disk() / kSectorBytes - 128)) * kSectorBytes;
  const DiskPolicy policy{.strict = one_in(3)};
  note("create " + name + " " + std::to_string(size) + " over the base" + (policy.strict ? " strict" : ""));
  const std::uint64_t asked = size;
  if (size == 0) size = round_up(base_bytes_, kSectorBytes);
  Content content(size);
  for (std::uint64_t block = 0; block < std::min<std::uint64_t>(content.blocks(), base_.size()); ++block)
    content.set_block(block, base_[block]);
  // Behind its end a disk holds nothing, whatever the base has there.
  if (const std::uint64_t left = size % kBlockBytes; left != 0 && base_.size() >= content.blocks()) {
    auto last = std::make_shared<Version>(*base_[content.blocks() - 1]);
    std::ranges::fill(std::span(last->bytes).subspan(left), std::byte{0});
    content.set_block(content.blocks() - 1, std::move(last));
  }
  change(store().create_disk_over(name, asked, policy, {base_path_, -1}), "create " + name,
         [=, this] { disks_[name] = {add_node({0, name, "", content, ++last_base_}), policy.strict}; });
  set_quota(name, kMaxDiskBytes);
}

Task<void> World::pause() {
  co_await sleep_for(host_.scheduler(), std::chrono::microseconds(200));
}

// The base is copied while the disk is written; then nothing of it is left.
void World::flatten() {
  const std::string disk = some_disk();
  const int base = nodes_.at(head_of(disk)).base;
  note("flatten " + disk);
  const auto start = [&] { return run(store().start_flatten(disk, Store::FlattenPace::kAtOnce)); };
  if (base == 0) return require_refused(start(), ErrorKind::kInvalid, "flatten of " + disk);
  int users = 0;
  each_node([&](const ModelNode& node) {
    if (node.base == base && !node.changes_only) ++users;
  });
  if (users > 1) return require_refused(start(), ErrorKind::kBusy, "flatten of " + disk);
  pending_.settle = [=, this] { settle_flatten(disk); };
  require(start(), "flatten " + disk);
  for (int left = 3; left > 0; --left) one_request();
  const bool stops = one_in(4);
  // It may have ended by now.
  if (stops) (void)run(store().stop_flatten(disk));
  for (bool done = stops; !done;) {
    auto info = run(store().info({disk, ""}));
    require(info, "info " + disk);
    done = !info->base;
    expect(done || (info->base->flatten && info->base->flatten->running), "flatten " + disk + " ended early");
    run(pause());
  }
  settle_flatten(disk);
  pending_ = {};
}

// As far as it went. What was copied, nobody knows.
void World::settle_flatten(const std::string& disk) {
  auto info = run(store().info({disk, ""}));
  require(info, "info " + disk);
  ModelNode& head = nodes_.at(head_of(disk));
  if (!info->base) head.base = 0;
  const auto either = [](VersionPointer& version) {
    if (space_of(version) == Space::kBase) version = either_version(version);
  };
  for (std::uint64_t block = 0; block < head.content.blocks(); ++block) {
    VersionPointer version = head.content.block(block);
    either(version);
    head.content.set_block(block, std::move(version));
  }
  for (auto& [block, versions] : head.unflushed) std::ranges::for_each(versions, either);
}

}  // namespace coppice::test
