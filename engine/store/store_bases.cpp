// Disks over a read-only image.
#include <fmt/format.h>

#include <algorithm>

#include "store/store_impl.h"

namespace coppice {

namespace {

constexpr const char* kRemedy = "bring it back as it was, or say where it is now";

}  // namespace

Task<Outcome<std::uint64_t>> StoreImpl::create_disk_over(std::string name, std::uint64_t size_bytes,
                                                         DiskPolicy policy, BaseSource base) {
  return exclusively(do_create_over(std::move(name), size_bytes, policy, std::move(base)));
}

// The feature is durable in the superblocks before a record needs it: no older engine ever reads zeroes
// where the base shows.
Task<Outcome<std::uint64_t>> StoreImpl::do_create_over(std::string name, std::uint64_t size_bytes,
                                                       DiskPolicy policy, BaseSource base) {
  auto checked = require_free_name(name);
  if (!checked) co_return std::unexpected(checked.error());
  BaseImages& images = engine_->images();
  auto value = co_await in_background(scheduler_, [&images, &base] { return images.identify(base); });
  if (!value) co_return std::unexpected(value.error());
  if (size_bytes == 0) size_bytes = round_up(value->size_bytes, kSectorBytes);
  checked = check_size(name, size_bytes);
  if (!checked) co_return std::unexpected(checked.error());
  BasePointer opened = engine_->images().open(*value);
  if (!opened->problem.empty())
    co_return refuse(ErrorKind::kIo, fmt::format("base {} {}", value->path, opened->problem));
  Pool& pool = engine_->parts().pool;
  const bool raw = value->format == BaseFormat::kRaw;
  const std::uint64_t feature = kIncompatBases | (raw ? 0 : kIncompatImageBases);
  auto noted = co_await pool.require_feature(feature);
  if (!noted) co_return refuse(noted.error(), "disk " + name);
  Tree& tree = engine_->tree();
  const std::int64_t now = wall_now();
  BranchId root;
  const auto plan = [&] {
    root = tree.next_branch();
    Tree::Edits edits = tree.plan_disk(name, size_bytes, policy.strict ? kDiskStrict : 0, now);
    const Tree::Edits on_base = tree.plan_base(root, *value);
    edits.insert(edits.end(), on_base.begin(), on_base.end());
    return edits;
  };
  auto done = co_await change(plan, "disk " + name);
  if (!done) co_return std::unexpected(done.error());
  engine_->bases().set(root, std::move(opened));
  co_return size_bytes;
}

Task<Outcome<>> StoreImpl::set_base(std::string disk, BaseSource base) {
  return exclusively(do_set_base(std::move(disk), std::move(base)));
}

Task<Outcome<>> StoreImpl::do_set_base(std::string name, BaseSource base) {
  auto disk = require_disk(name);
  if (!disk) co_return std::unexpected(disk.error());
  Tree& tree = engine_->tree();
  const BranchId branch = tree.node((*disk)->value.head)->value.branch;
  const BaseValue* known = tree.base(branch);
  if (known == nullptr) {
    co_return refuse(ErrorKind::kInvalid,
                     fmt::format("disk {} stands on no base: only 'create --base' makes such a disk", name));
  }
  base.format = known->format;
  BaseImages& images = engine_->images();
  auto value = co_await in_background(scheduler_, [&images, &base] { return images.identify(base); });
  if (!value) co_return std::unexpected(value.error());
  if (value->size_bytes != known->size_bytes || value->samples != known->samples) {
    co_return refuse(
        ErrorKind::kInvalid,
        fmt::format("disk {}: {} is another image than its base was ({}): name a copy of it that "
                    "was not written",
                    name, value->path,
                    value->size_bytes == known->size_bytes
                        ? "its content differs"
                        : fmt::format("{} bytes, not {}", value->size_bytes, known->size_bytes)));
  }
  value->flattening = known->flattening;
  BasePointer opened = engine_->images().open(*value);
  if (!opened->problem.empty())
    co_return refuse(ErrorKind::kIo, fmt::format("base {} {}", value->path, opened->problem));
  const BranchId root = tree.root_of(branch);
  const auto plan = [&] { return tree.plan_base(root, *value); };
  auto done = co_await change(plan, "disk " + name);
  if (done) engine_->bases().set(root, std::move(opened));
  allocated_counts_.forget();
  co_return done;
}

std::string StoreImpl::base_failure(const std::string& disk, const Base& base, const BaseValue& value) const {
  if (base.may_be_same) {
    return fmt::format("disk {}: its base {} {}: if it is the same as it was, say so: coppice set {} base={}",
                       disk, value.path, base.problem, disk, value.path);
  }
  return fmt::format("disk {}: its base {} {}: {}: coppice set {} base=PATH", disk, value.path, base.problem,
                     kRemedy, disk);
}

// It may have come back since, or have been written.
Outcome<> StoreImpl::require_base(const TreeNode& node) {
  const Tree& tree = engine_->tree();
  const BaseValue* value = tree.base(node.value.branch);
  if (value == nullptr) return {};
  const BranchId root = tree.root_of(node.value.branch);
  BasePointer base = engine_->bases().under(node.value.branch);
  if (base->file == nullptr || (base->was_written && base->was_written())) {
    base = engine_->images().open(*value);
    engine_->bases().set(root, base);
    allocated_counts_.forget();
  }
  if (base->file != nullptr) return {};
  const TreeDisk* disk = tree.disk(node.value.disk);
  return refuse(ErrorKind::kIo, base_failure(disk == nullptr ? "" : disk->value.name, *base, *value));
}

std::optional<BaseInfo> StoreImpl::describe_base(BranchId branch) const {
  const Tree& tree = engine_->tree();
  const BaseValue* value = tree.base(branch);
  if (value == nullptr) return std::nullopt;
  BaseInfo info;
  info.path = value->path;
  info.format = value->format;
  info.size_bytes = value->size_bytes;
  info.problem = engine_->bases().under(branch)->problem;
  const auto job = flattenings_.find(tree.root_of(branch));
  if (job != flattenings_.end()) {
    info.flatten = FlattenInfo{job->second->running, job->second->copied_bytes, job->second->total_bytes,
                               job->second->problem};
  } else if (value->flattening) {
    info.flatten = FlattenInfo{false, 0, value->size_bytes, "it was interrupted"};
  }
  return info;
}

std::vector<NodeId> StoreImpl::living_over(BranchId root) const {
  const Tree& tree = engine_->tree();
  std::vector<NodeId> living;
  for (const auto& [id, node] : tree.nodes()) {
    const bool dead = node.value.state == NodeState::kDead;
    if (!dead && tree.root_of(node.value.branch) == root) living.push_back(id);
  }
  return living;
}

// To the log of who runs long. Who opens a store for one verb is told by the verb, if it matters.
void StoreImpl::tell_bad_bases() {
  if (policy_interval_.count() == 0) return;
  const Tree& tree = engine_->tree();
  for (const auto& [id, disk] : tree.disks()) {
    const BranchId branch = tree.node(disk.value.head)->value.branch;
    const BaseValue* value = tree.base(branch);
    if (value == nullptr || tree.trashed(id)) continue;
    const BasePointer base = engine_->bases().under(branch);
    if (!base->problem.empty()) engine_->tell(base_failure(disk.value.name, *base, *value));
  }
}

// Each is looked at anew.
void StoreImpl::check_bases(CheckReport& report) {
  const Tree& tree = engine_->tree();
  for (const auto& [id, disk] : tree.disks()) {
    const BaseValue* value = tree.base(tree.node(disk.value.head)->value.branch);
    if (value == nullptr) continue;
    const BasePointer base = engine_->images().open(*value);
    if (!base->problem.empty()) report.problems.push_back(base_failure(disk.value.name, *base, *value));
  }
}

}  // namespace coppice
