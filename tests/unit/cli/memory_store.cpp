#include "memory_store.h"

#include <algorithm>

namespace coppice::test {
namespace {

std::unexpected<Failure> not_found(const Spec& spec) {
  return refuse(ErrorKind::kNotFound, spec.text() + " isn't there: coppice ls lists what is");
}
std::unexpected<Failure> not_here() {
  return refuse(ErrorKind::kUnsupported, "not in memory");
}

class MemoryDevice final : public BlockDevice {
 public:
  MemoryDevice(MemoryStore& store, MemoryStore::ImagePointer image, Access access)
      : store_(store), image_(std::move(image)), access_(access) {
    ++image_->attachments;
  }
  MemoryDevice(const MemoryDevice&) = delete;
  MemoryDevice& operator=(const MemoryDevice&) = delete;
  ~MemoryDevice() override { --image_->attachments; }

  [[nodiscard]] std::uint64_t size_bytes() const override { return image_->bytes.size(); }
  [[nodiscard]] bool read_only() const override { return access_ == Access::kReadOnly; }
  Task<Result<>> read(std::uint64_t offset_bytes, std::span<std::byte> into) override {
    std::ranges::copy(std::span(image_->bytes).subspan(offset_bytes, into.size()), into.begin());
    co_return Result<>{};
  }
  Task<Result<>> write(std::uint64_t offset_bytes, std::span<const std::byte> from, WriteFlags) override {
    if (read_only()) co_return fail(ErrorKind::kReadOnly, 1, "read-only");
    if (store_.writes_until_failure && (*store_.writes_until_failure)-- == 0) {
      co_return fail(ErrorKind::kNoSpace, 28, "the pool is full");
    }
    std::ranges::copy(from, image_->bytes.begin() + static_cast<std::ptrdiff_t>(offset_bytes));
    image_->written_bytes += from.size();
    co_return Result<>{};
  }
  Task<Result<>> write_zeroes(std::uint64_t offset_bytes, std::uint64_t length_bytes, ZeroFlags) override {
    std::ranges::fill(std::span(image_->bytes).subspan(offset_bytes, length_bytes), std::byte{0});
    co_return Result<>{};
  }
  Task<Result<>> discard(std::uint64_t offset_bytes, std::uint64_t length_bytes, WriteFlags) override {
    auto zeroed = co_await write_zeroes(offset_bytes, length_bytes, ZeroFlags{});
    co_return zeroed;
  }
  Task<Result<>> flush() override { co_return Result<>{}; }
  // Block by block, at most as many as are asked for: as fragmented as a disk can be.
  Task<Result<>> extents(std::uint64_t offset_bytes, std::uint64_t length_bytes, std::size_t max_extents,
                         std::vector<Extent>& into) override {
    const std::uint64_t end = offset_bytes + length_bytes;
    while (offset_bytes < end && into.size() < max_extents) {
      const std::uint64_t next = std::min(end, round_down(offset_bytes, kBlockBytes) + kBlockBytes);
      const auto block = std::span(image_->bytes).subspan(offset_bytes, next - offset_bytes);
      const bool data = std::ranges::any_of(block, [](std::byte byte) { return byte != std::byte{0}; });
      into.push_back({offset_bytes, next - offset_bytes, data});
      offset_bytes = next;
    }
    co_return Result<>{};
  }

 private:
  MemoryStore& store_;
  MemoryStore::ImagePointer image_;
  Access access_;
};

}  // namespace

MemoryStore::ImagePointer MemoryStore::find(const Spec& spec) {
  const auto found = images.find(spec.text());
  return found == images.end() ? nullptr : found->second;
}

Task<Outcome<>> MemoryStore::create_disk(std::string name, std::uint64_t size_bytes, DiskPolicy policy) {
  if (images.contains(name))
    co_return refuse(ErrorKind::kExists, "disk " + name + " exists: choose another name");
  if (size_bytes == 0 || size_bytes % kSectorBytes != 0) co_return refuse(ErrorKind::kInvalid, "a bad size");
  images[name] = std::make_shared<Image>(Image{std::vector<std::byte>(size_bytes)});
  images[name]->policy = policy;
  co_return Outcome<>{};
}

Task<Outcome<std::uint64_t>> MemoryStore::create_disk_over(std::string, std::uint64_t, DiskPolicy,
                                                           BaseSource) {
  co_return not_here();
}

Task<Outcome<>> MemoryStore::set_base(std::string, BaseSource) {
  co_return not_here();
}

Task<Outcome<>> MemoryStore::start_flatten(std::string, FlattenPace) {
  co_return not_here();
}

Task<Outcome<>> MemoryStore::stop_flatten(std::string) {
  co_return not_here();
}

Task<Outcome<>> MemoryStore::snapshot(std::vector<Spec> specs, SnapshotOptions options) {
  for (const auto& spec : specs) {
    const auto disk = find(Spec{spec.disk, {}});
    if (!disk) co_return not_found(Spec{spec.disk, {}});
    images[spec.text()] = std::make_shared<Image>(
        Image{.bytes = disk->bytes, .note = options.note, .expires_unix_ms = options.expires_unix_ms});
  }
  co_return Outcome<>{};
}

Task<Outcome<>> MemoryStore::hold(Spec snapshot, std::string tag) {
  const auto image = find(snapshot);
  if (!image) co_return not_found(snapshot);
  image->holds.push_back(std::move(tag));
  co_return Outcome<>{};
}

Task<Outcome<std::string>> MemoryStore::release(Spec snapshot, std::string tag) {
  const auto image = find(snapshot);
  if (!image || image->holds.empty()) co_return not_found(snapshot);
  if (tag.empty()) tag = image->holds.front();
  std::erase(image->holds, tag);
  co_return tag;
}

Task<Outcome<std::string>> MemoryStore::rollback(std::vector<Spec> to, RollbackOptions options) {
  for (const Spec& spec : to)
    if (!find(spec) || !find(Spec{spec.disk, {}})) co_return not_found(spec);
  std::string kept = options.keep_as.empty() ? "before-rollback" : options.keep_as;
  for (const Spec& spec : to) {
    const auto disk = find(Spec{spec.disk, {}});
    if (!options.discard) images[spec.disk + "@" + kept] = std::make_shared<Image>(Image{disk->bytes});
    disk->bytes = find(spec)->bytes;
  }
  co_return options.discard ? std::string() : kept;
}

Task<Outcome<ReclaimInfo>> MemoryStore::reclaim(std::optional<std::string>) {
  co_return ReclaimInfo{};
}

Task<Outcome<GroupInfo>> MemoryStore::group(Spec snapshot) {
  if (!find(snapshot)) co_return not_found(snapshot);
  co_return GroupInfo{0, 1, {snapshot}};
}

Task<Outcome<>> MemoryStore::clone(Spec from, std::string new_disk) {
  const auto snapshot = find(from);
  if (!snapshot) co_return not_found(from);
  images[new_disk] = std::make_shared<Image>(Image{snapshot->bytes});
  co_return Outcome<>{};
}

Task<Outcome<>> MemoryStore::remove(std::vector<Spec> specs, bool) {
  for (const auto& spec : specs) {
    const auto image = find(spec);
    if (!image) co_return not_found(spec);
    if (image->attachments != 0) co_return refuse(ErrorKind::kBusy, spec.text() + " is in use");
  }
  for (const auto& spec : specs) images.erase(spec.text());
  co_return Outcome<>{};
}

Task<Outcome<>> MemoryStore::keep_changes(std::vector<Spec>) {
  co_return not_here();
}

// Without their snapshots.
Task<Outcome<std::int64_t>> MemoryStore::trash(std::vector<Spec> specs, bool) {
  for (const auto& spec : specs) {
    if (!find(spec)) co_return not_found(spec);
  }
  for (const auto& spec : specs) {
    auto image = images.extract(spec.text());
    if (!spec.is_snapshot()) trash_images[spec.disk] = image.mapped();
  }
  co_return 86'400'000;
}

Task<Outcome<RemovalPreview>> MemoryStore::preview_removal(std::vector<Spec> specs, bool, bool) {
  for (const auto& spec : specs) {
    if (!find(spec)) co_return not_found(spec);
  }
  co_return RemovalPreview{specs, 4096};
}

Task<Outcome<>> MemoryStore::set_schedule(std::string, Schedule) {
  co_return not_here();
}

Task<Outcome<ScheduleInfo>> MemoryStore::schedule(std::string disk, std::optional<Schedule> rules) {
  if (!find(Spec{disk, {}})) co_return not_found(Spec{disk, {}});
  co_return ScheduleInfo{.rules = rules.value_or(Schedule{}), .snapshots = {}};
}

Task<Outcome<>> MemoryStore::undelete(std::string disk, std::string new_name) {
  if (!trash_images.contains(disk)) co_return not_found(Spec{disk, {}});
  if (images.contains(new_name)) co_return refuse(ErrorKind::kExists, new_name + " exists");
  images[new_name] = trash_images.extract(disk).mapped();
  co_return Outcome<>{};
}

Task<Outcome<>> MemoryStore::purge(std::vector<std::string> disks) {
  for (const auto& disk : disks) {
    if (trash_images.erase(disk) == 0) co_return not_found(Spec{disk, {}});
  }
  co_return Outcome<>{};
}

Task<Outcome<std::vector<TrashInfo>>> MemoryStore::trashed() {
  std::vector<TrashInfo> infos;
  for (const auto& [name, image] : trash_images)
    infos.push_back({.disk = name, .size_bytes = image->bytes.size()});
  co_return infos;
}

Task<Outcome<>> MemoryStore::set_expiry(Spec snapshot, std::int64_t expires_unix_ms) {
  const auto image = find(snapshot);
  if (!image) co_return not_found(snapshot);
  image->expires_unix_ms = expires_unix_ms;
  co_return Outcome<>{};
}

Task<Outcome<>> MemoryStore::run_policies() {
  co_return Outcome<>{};
}

Task<Outcome<>> MemoryStore::rename(Spec from, std::string to) {
  const auto image = find(from);
  const std::string name = from.is_snapshot() ? from.disk + "@" + to : to;
  if (!image) co_return not_found(from);
  if (images.contains(name)) co_return refuse(ErrorKind::kExists, name + " exists");
  images.erase(from.text());
  images[name] = image;
  co_return Outcome<>{};
}

Task<Outcome<>> MemoryStore::resize(std::string disk, std::uint64_t size_bytes) {
  const auto image = find(Spec{disk, {}});
  if (!image) co_return not_found(Spec{disk, {}});
  if (image->attachments != 0) co_return refuse(ErrorKind::kBusy, disk + " is in use");
  image->bytes.resize(size_bytes);
  co_return Outcome<>{};
}

Task<Outcome<>> MemoryStore::set_policy(std::string disk, DiskPolicy policy) {
  const auto image = find(Spec{disk, {}});
  if (!image) co_return not_found(Spec{disk, {}});
  image->policy = policy;
  co_return Outcome<>{};
}

Task<Outcome<AttachmentInfo>> MemoryStore::attach(std::string, AttachOptions) {
  co_return not_here();
}

Task<Outcome<std::vector<AttachmentInfo>>> MemoryStore::attachments(std::string) {
  co_return std::vector<AttachmentInfo>{};
}

Task<Outcome<std::vector<AttachmentInfo>>> MemoryStore::detach(std::string, std::string) {
  co_return not_here();
}

Task<Outcome<std::vector<AttachmentInfo>>> MemoryStore::detach_all(std::string) {
  co_return not_here();
}

Task<Outcome<std::vector<AttachmentInfo>>> MemoryStore::fence(std::string) {
  co_return not_here();
}

Task<Outcome<std::unique_ptr<BlockDevice>>> MemoryStore::open_attachment(std::string, std::string, Holder) {
  co_return not_here();
}

Task<Outcome<>> MemoryStore::set_quota(std::string, std::uint64_t) {
  co_return not_here();
}

Task<Outcome<std::vector<NodeInfo>>> MemoryStore::tree(std::optional<std::string> disk) {
  std::vector<NodeInfo> nodes;
  for (const auto& [name, image] : images) {
    auto node = co_await info(*parse_spec(name));
    if (!disk || node->disk == *disk) nodes.push_back(*node);
  }
  co_return nodes;
}

Task<Outcome<NodeInfo>> MemoryStore::info(Spec spec) {
  const auto found = images.find(spec.text());
  if (found == images.end()) co_return not_found(spec);
  NodeInfo node;
  node.id = 1 + static_cast<std::uint64_t>(std::distance(images.begin(), found));
  node.kind = spec.is_snapshot() ? NodeInfo::Kind::kSnapshot : NodeInfo::Kind::kHead;
  node.disk = spec.disk;
  node.snapshot = spec.snapshot;
  node.size_bytes = found->second->bytes.size();
  node.attachments = found->second->attachments;
  node.policy = found->second->policy;
  node.note = found->second->note;
  node.holds = found->second->holds;
  node.expires_unix_ms = found->second->expires_unix_ms;
  co_return node;
}

Task<Outcome<std::vector<SpaceInfo>>> MemoryStore::space(std::optional<std::string>) {
  co_return not_here();
}
Task<Outcome<SetSpace>> MemoryStore::space_of(std::vector<Spec>, bool) {
  co_return not_here();
}
// By name, which stands for age here.
Task<Outcome<std::vector<Spec>>> MemoryStore::range(Spec first, Spec last) {
  std::vector<Spec> line;
  for (const auto& [name, image] : images) {
    const auto spec = parse_spec(name);
    if (spec->disk != first.disk || !spec->is_snapshot() || spec->snapshot < first.snapshot) continue;
    if (!last.is_snapshot() || spec->snapshot <= last.snapshot) line.push_back(*spec);
  }
  co_return line;
}
Task<Outcome<std::vector<PoolInfo>>> MemoryStore::pools() {
  co_return std::vector<PoolInfo>{};
}
Task<Outcome<CheckReport>> MemoryStore::check(bool) {
  co_return CheckReport{.leaves = 1, .blocks = 2, .metadata_copy = "whole", .problems = {}};
}
Task<Outcome<std::string>> MemoryStore::dump() {
  co_return std::string("nothing\n");
}
Task<Outcome<>> MemoryStore::wait_for_reclaim() {
  co_return Outcome<>{};
}
Task<Outcome<>> MemoryStore::close() {
  co_return Outcome<>{};
}

Task<Outcome<std::vector<DiffRange>>> MemoryStore::diff(Spec from, Spec to, std::uint64_t from_offset) {
  const auto one = find(from);
  const auto other = find(to);
  if (!one) co_return not_found(from);
  if (!other) co_return not_found(to);
  std::vector<DiffRange> ranges;
  for (std::uint64_t offset = round_down(from_offset, kBlockBytes); offset < one->bytes.size();
       offset += kBlockBytes) {
    const auto left =
        std::span(one->bytes).subspan(offset).first(std::min(kBlockBytes, one->bytes.size() - offset));
    const auto right = std::span(other->bytes).subspan(offset, left.size());
    if (!std::ranges::equal(left, right)) ranges.push_back({offset, left.size(), false});
  }
  co_return ranges;
}

Task<Outcome<std::unique_ptr<BlockDevice>>> MemoryStore::open_device(Spec spec, Access access, Holder) {
  auto image = find(spec);
  if (!image) co_return not_found(spec);
  co_return std::make_unique<MemoryDevice>(*this, std::move(image), access);
}

}  // namespace coppice::test
