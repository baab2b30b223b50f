// Disks over an image, and without it again.
#include <algorithm>
#include <fstream>

#include "world.h"

namespace coppice::test {

namespace {

constexpr std::uint64_t kLargestDisk = std::uint64_t{16} << 20;

}  // namespace

// The image that disks stand on: noise with zeroes in it, and an end inside a block.
void World::write_base() {
  base_bytes_ = (std::uint64_t{5} << 20) + 3 * kSectorBytes;
  std::ofstream file(directory_ + "/base.raw", std::ios::binary);
  for (std::uint64_t at = 0; at < base_bytes_; at += kBlockBytes) {
    auto version = std::make_shared<Version>(Version{{}, Space::kBase});
    const std::uint64_t length = std::min(kBlockBytes, base_bytes_ - at);
    if (at / kBlockBytes % 7 != 0) std::ranges::copy(random_bytes(length), version->bytes.begin());
    file.write(reinterpret_cast<const char*>(version->bytes.data()), static_cast<std::streamsize>(length));
    base_.push_back(std::move(version));
  }
}

void World::create_over() {
  const std::string name = new_name("o");
  std::uint64_t size = one_in(2) ? 0 : (128 + below(kLargestDisk / kSectorBytes - 128)) * kSectorBytes;
  const DiskPolicy policy{.strict = one_in(3)};
  note("create " + name + " " + std::to_string(size) + " over the base" + (policy.strict ? " strict" : ""));
  auto made = run(store_->create_disk_over(name, size, policy, {directory_ + "/base.raw", -1}));
  require(made, "create " + name);
  require(run(store_->set_quota(name, kMaxDiskBytes)), "set a quota of " + name);
  if (size == 0) size = round_up(base_bytes_, kSectorBytes);
  expect(*made == size, "create " + name + ": its size");
  note_policy(name, policy.strict);
  Content content(size);
  for (std::uint64_t block = 0; block < std::min<std::uint64_t>(content.blocks(), base_.size()); ++block)
    content.set_block(block, base_[block]);
  // Behind its end a disk holds nothing, whatever the base has there.
  if (const std::uint64_t left = size % kBlockBytes; left != 0 && base_.size() >= content.blocks()) {
    auto last = std::make_shared<Version>(*base_[content.blocks() - 1]);
    std::ranges::fill(std::span(last->bytes).subspan(left), std::byte{0});
    content.set_block(content.blocks() - 1, std::move(last));
  }
  heads_[name] = add_node({0, name, "", std::move(content), ++last_base_});
}

Task<void> World::pause() {
  co_await sleep_for(reactor_, std::chrono::microseconds(200));
}

// The base is copied while the disk is written; then nothing of it is left.
void World::flatten() {
  const std::string disk = some_disk();
  const int base = nodes_.at(head_of(disk)).base;
  note("flatten " + disk);
  const auto start = [&] { return run(store_->start_flatten(disk, Store::FlattenPace::kAtOnce)); };
  if (base == 0) return require_refused(start(), ErrorKind::kInvalid, "flatten of " + disk);
  if (std::ranges::count_if(nodes_, [&](const auto& each) { return each.second.base == base; }) > 1)
    return require_refused(start(), ErrorKind::kBusy, "flatten of " + disk);
  require(start(), "flatten " + disk);
  for (int left = 3; left > 0; --left) one_request();
  const bool stops = one_in(4);
  // It may have ended by now.
  if (stops) (void)run(store_->stop_flatten(disk));
  bool done = false;
  while (!done) {
    auto info = run(store_->info({disk, ""}));
    require(info, "info " + disk);
    done = !info->base;
    if (stops) break;
    expect(done || (info->base->flatten && info->base->flatten->running), "flatten " + disk + " ended early");
    run(pause());
  }
  ModelNode& head = nodes_.at(head_of(disk));
  if (done) head.base = 0;
  for (std::uint64_t block = 0; block < head.content.blocks(); ++block) {
    if (space_of(head.content.block(block)) == Space::kBase)
      head.content.set_block(block, either_version(head.content.block(block)));
  }
}

}  // namespace coppice::test
