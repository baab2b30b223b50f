// The verbs that only ask, and devices.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "disk/device.h"
#include "store/store_impl.h"
#include "tree/diff.h"
#include "tree/fate.h"

namespace coppice {

StoreImpl::StoreImpl(Scheduler& scheduler, std::unique_ptr<Engine> engine, HousekeepingOptions options)
    : scheduler_(scheduler),
      engine_(std::move(engine)),
      housekeeper_(scheduler, *engine_, options),
      verbs_(scheduler),
      trash_lock_(scheduler),
      wall_clock_(std::move(options.wall_clock)),
      policy_interval_(options.policy_interval),
      policies_running_(scheduler) {
  engine_->make_room = [this] { return make_room(); };
}

void StoreImpl::start() {
  housekeeper_.start();
  start_policies();
}

std::string StoreImpl::read_only() const {
  const Journal& journal = engine_->parts().journal;
  if (!read_only_.empty() || !journal.failed()) return read_only_;
  const Error why = journal.failure();
  return fmt::format(
      "a device of the pool has failed ({}{}): close the store, see to the device, open it again", why.text,
      why.errno_value == 0 ? "" : fmt::format(": {}", std::strerror(why.errno_value)));
}

Outcome<> StoreImpl::require_writable() const {
  const std::string reason = read_only();
  if (reason.empty()) return {};
  return refuse(ErrorKind::kReadOnly, "the store is read-only: " + reason);
}

std::size_t StoreImpl::holders_of(NodeId node) const {
  auto place = holders_.find(node);
  return place == holders_.end() ? 0 : place->second.size();
}

std::string StoreImpl::first_holder(NodeId node) const {
  auto place = holders_.find(node);
  return place == holders_.end() || place->second.empty() ? "nobody"
                                                          : place->second.front().holder.description;
}

NodeInfo StoreImpl::describe(const TreeNode& node) {
  const Tree& tree = engine_->tree();
  NodeInfo info;
  info.id = node.id.value;
  info.parent = node.value.parent.value;
  info.kind = node.value.state == NodeState::kHead       ? NodeInfo::Kind::kHead
              : node.value.state == NodeState::kSnapshot ? NodeInfo::Kind::kSnapshot
                                                         : NodeInfo::Kind::kDeleted;
  const TreeDisk* disk = tree.disk(node.value.disk);
  if (disk != nullptr) info.disk = disk->value.name;
  info.snapshot = node.value.state == NodeState::kSnapshot ? node.value.name : "";
  info.note = node.value.note;
  info.size_bytes = node.value.size_bytes;
  info.created_unix_ms = node.value.created_unix_ms;
  info.policy.strict = info.kind == NodeInfo::Kind::kHead && disk != nullptr && disk->value.strict();
  info.attachments = holders_of(node.id);
  info.holds = node.value.holds;
  info.expires_unix_ms = node.value.expires_unix_ms;
  info.scheduled = node.value.scheduled && tree.schedule(node.value.disk) != nullptr;
  for (const NodeId child_id : node.children) {
    const TreeNode& child = *tree.node(child_id);
    if (child.value.disk == node.value.disk || child.value.state == NodeState::kDead) continue;
    if (tree.trashed(child.value.disk)) continue;
    const TreeDisk* clone = tree.disk(child.value.disk);
    if (clone != nullptr) info.clones.push_back(clone->value.name);
  }
  return info;
}

Task<Outcome<std::vector<NodeInfo>>> StoreImpl::tree(std::optional<std::string> disk) {
  const Tree& tree = engine_->tree();
  std::set<NodeId> wanted;
  if (disk) {
    auto found = require_disk(*disk);
    if (!found) co_return std::unexpected(found.error());
    for (const NodeId start : tree.nodes_of((*found)->id)) {
      for (const TreeNode* node = tree.node(start); node != nullptr && wanted.insert(node->id).second;) {
        node = tree.node(node->value.parent);
      }
    }
  }
  std::vector<NodeInfo> nodes;
  std::vector<NodeId> open;
  for (const auto& [id, node] : tree.nodes()) {
    if (tree.node(node.value.parent) == nullptr) open.push_back(id);
  }
  std::reverse(open.begin(), open.end());
  while (!open.empty()) {
    const TreeNode& node = *tree.node(open.back());
    open.pop_back();
    // What stands on a disk in the trash is there too, so the rest is a tree.
    if (disk ? wanted.contains(node.id) : !tree.trashed(node.value.disk)) nodes.push_back(describe(node));
    open.insert(open.end(), node.children.rbegin(), node.children.rend());
  }
  co_return nodes;
}

Task<Outcome<NodeInfo>> StoreImpl::info(Spec spec) {
  auto node = require_node(spec);
  if (!node) co_return std::unexpected(node.error());
  co_return describe(**node);
}

Task<Outcome<std::vector<SpaceInfo>>> StoreImpl::space(std::optional<std::string> disk) {
  Tree& tree = engine_->tree();
  std::vector<DiskId> disks;
  if (disk) {
    auto found = require_disk(*disk);
    if (!found) co_return std::unexpected(found.error());
    disks.push_back((*found)->id);
  } else {
    for (const auto& [id, value] : tree.disks()) {
      if (!tree.trashed(id)) disks.push_back(id);
    }
  }
  std::vector<SpaceInfo> rows;
  co_await verbs_.lock();  // nodes stay while they are counted
  Outcome<> status;
  for (const DiskId id : disks) {
    for (const NodeId node_id : tree.nodes_of(id)) {
      const TreeNode* node = tree.node(node_id);
      const TreeDisk* owner = tree.disk(id);
      if (!status || node == nullptr || owner == nullptr) continue;
      SpaceInfo row;
      row.spec = {owner->value.name, node->value.state == NodeState::kSnapshot ? node->value.name : ""};
      auto own = co_await exclusive_blocks(tree, engine_->map(), node_id);
      auto visible = co_await visible_blocks(tree, engine_->map(), node_id);
      if (!own || !visible) {
        status = refuse(own ? visible.error() : own.error(), row.spec.text());
        continue;
      }
      row.own_bytes = row.frees_bytes = *own * kBlockBytes;
      row.shared_bytes = (*visible - std::min(*visible, *own)) * kBlockBytes;
      rows.push_back(std::move(row));
    }
  }
  verbs_.unlock();
  if (!status) co_return std::unexpected(status.error());
  co_return rows;
}

Task<Outcome<RemovalPreview>> StoreImpl::preview_removal(std::vector<Spec> specs, bool with_snapshots,
                                                         bool to_trash) {
  co_await verbs_.lock();
  co_await trash_lock_.lock();
  auto preview = co_await do_preview_removal(std::move(specs), with_snapshots, to_trash);
  trash_lock_.unlock();
  verbs_.unlock();
  co_return preview;
}

Task<Outcome<RemovalPreview>> StoreImpl::do_preview_removal(std::vector<Spec> specs, bool with_snapshots,
                                                            bool to_trash) {
  auto leaving = plan_leaving(specs, with_snapshots);
  if (!leaving) co_return std::unexpected(leaving.error());
  auto free = check_leaving(*leaving, to_trash);
  if (!free) co_return std::unexpected(free.error());
  RemovalPreview preview;
  std::vector<NodeId> nodes;
  for (const auto& [id, spec] : leaving->nodes) {
    nodes.push_back(id);
    preview.specs.push_back(spec);
  }
  auto blocks = co_await exclusive_blocks(engine_->tree(), engine_->map(), std::move(nodes));
  if (!blocks) co_return refuse(blocks.error(), specs.front().text());
  preview.frees_bytes = *blocks * kBlockBytes;
  co_return preview;
}

Task<Outcome<std::vector<PoolInfo>>> StoreImpl::pools() {
  std::vector<PoolInfo> infos;
  Parts& parts = engine_->parts();
  for (std::uint64_t member = 0; member < parts.pool.members().size(); ++member) {
    const Superblock& superblock = parts.pool.superblock(member);
    PoolInfo info;
    info.path = parts.pool.file(member).path();
    info.size_bytes = superblock.slab_count * parts.pool.slab_layout(member).data_blocks() * kBlockBytes;
    info.grows = superblock.grows;
    infos.push_back(info);
  }
  // Members share one allocation; usage is told where it is exact, for the pool as a whole.
  infos.front().used_bytes = parts.allocator.owned_data_blocks() * kBlockBytes;
  co_return infos;
}

Task<Outcome<std::vector<DiffRange>>> StoreImpl::diff(Spec from, Spec to, std::uint64_t from_offset) {
  auto a = require_node(from);
  if (!a) co_return std::unexpected(a.error());
  auto b = require_node(to);
  if (!b) co_return std::unexpected(b.error());
  Tree& tree = engine_->tree();
  const NodeId ids[2] = {(*a)->id, (*b)->id};
  const View view_a = tree.view_of(**a);
  const View view_b = tree.view_of(**b);
  const std::uint64_t size = (*b)->value.size_bytes;
  if (from_offset > size) {
    co_return refuse(ErrorKind::kInvalid,
                     fmt::format("{}: offset {} is beyond its end ({})", to.text(), from_offset, size));
  }
  if (tree.meeting_point(view_a, view_b).branch.value == 0) {
    co_return refuse(
        ErrorKind::kInvalid,
        fmt::format("{} and {} are not of one tree, so nothing was tracked between them: copy in full",
                    from.text(), to.text()));
  }
  for (const NodeId id : ids) ++tree.node(id)->pins;
  const BlockIndex first{from_offset / kBlockBytes};
  const BlockIndex end{round_up(size, kBlockBytes) / kBlockBytes};
  auto found = co_await diff_views(tree, engine_->map(), view_a, view_b, first, end);
  for (const NodeId id : ids) --tree.node(id)->pins;
  if (!found) co_return refuse(found.error(), from.text() + " to " + to.text());
  std::vector<DiffRange> ranges;
  ranges.reserve(found->size());
  for (const BlockDifference& each : *found) {
    const std::uint64_t start = std::max(each.first.value * kBlockBytes, from_offset);
    const std::uint64_t stop = std::min((each.first.value + each.count) * kBlockBytes, size);
    if (start < stop) ranges.push_back({start, stop - start, each.zero});
  }
  co_return ranges;
}

void StoreImpl::detach(NodeId node, std::list<Attachment>::iterator place) {
  auto found = holders_.find(node);
  found->second.erase(place);
  if (found->second.empty()) holders_.erase(found);
}

Task<Outcome<std::unique_ptr<BlockDevice>>> StoreImpl::open_device(Spec spec, Access access, Holder holder) {
  // A rollback or a removal under way decides first whether the disk is still there.
  co_await verbs_.lock();
  auto node = require_node(spec);
  if (!node) {
    verbs_.unlock();
    co_return std::unexpected(node.error());
  }
  if (spec.is_snapshot() && access == Access::kReadWrite) {
    verbs_.unlock();
    co_return refuse(ErrorKind::kReadOnly,
                     fmt::format("{} is a snapshot and never changes: clone it to write", spec.text()));
  }
  const NodeId id = (*node)->id;
  if (access == Access::kReadWrite) {
    auto free = require_writable();
    if (free) free = require_no_other_way(id, spec, holder);
    if (!free) {
      verbs_.unlock();
      co_return std::unexpected(free.error());
    }
  }
  std::list<Attachment>& holders = holders_[id];
  const auto place = holders.insert(holders.end(), Attachment{std::move(holder), access});
  const auto on_close = [this, id, place] { detach(id, place); };
  std::unique_ptr<BlockDevice> device;
  if (spec.is_snapshot()) {
    device = make_snapshot_device(engine_->parts(), id, on_close);
  } else {
    device = make_head_device(engine_->parts(), engine_->head(id, spec.disk), (*node)->value.size_bytes,
                              access == Access::kReadOnly, on_close);
  }
  verbs_.unlock();
  co_return device;
}

Task<Outcome<CheckReport>> StoreImpl::check(bool read_data) {
  co_await verbs_.lock();
  co_await trash_lock_.lock();
  auto report = co_await do_check(read_data);
  trash_lock_.unlock();
  verbs_.unlock();
  co_return report;
}

Task<Outcome<CheckReport>> StoreImpl::do_check(bool read_data) {
  // No verb runs now, so nothing dies while it is looked at. Read-only, nothing is given back either.
  Result<> reclaimed;
  if (!engine_->read_only()) {
    housekeeper_.wake_reclaimer();
    reclaimed = co_await housekeeper_.reclaimed();
  }
  if (!reclaimed) co_return refuse(reclaimed.error(), "giving back space");
  auto report = co_await check_engine(scheduler_, *engine_, read_data);
  co_return report;
}

Task<Outcome<std::string>> StoreImpl::dump() {
  auto text = co_await dump_engine(scheduler_, *engine_);
  co_return text;
}

Task<Outcome<>> StoreImpl::wait_for_reclaim() {
  if (engine_->read_only()) co_return Outcome<>{};
  housekeeper_.wake_reclaimer();
  auto done = co_await housekeeper_.reclaimed();
  if (!done) co_return refuse(done.error(), "giving back space");
  // What was freed leaves quarantine with its proof, once the reads of that time are done.
  Parts& parts = engine_->parts();
  while (parts.pending.quarantined_blocks() != 0) {
    done = co_await parts.journal.prove();
    if (!done) co_return refuse(done.error(), "giving back space");
    if (parts.pending.settle(parts.journal.proven())) parts.space_freed.wake_all();
    if (parts.pending.quarantined_blocks() != 0) co_await sleep_for(scheduler_, std::chrono::milliseconds(1));
  }
  co_return Outcome<>{};
}

Task<Outcome<>> StoreImpl::close() {
  co_await stop_policies();
  co_await verbs_.lock();
  if (!holders_.empty()) {
    verbs_.unlock();
    start_policies();
    co_return refuse(ErrorKind::kBusy, fmt::format("the store is still in use ({})",
                                                   holders_.begin()->second.front().holder.description));
  }
  co_await housekeeper_.stop();
  Outcome<> stopped;
  if (!engine_->read_only()) stopped = co_await engine_->stop();
  closed_ = true;
  verbs_.unlock();
  co_return stopped;
}

}  // namespace coppice
