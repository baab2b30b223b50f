// The verbs that only ask, and devices.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "base/mutation.h"
#include "disk/device.h"
#include "disk/space.h"
#include "store/store_impl.h"
#include "tree/changed.h"
#include "tree/fate.h"

namespace coppice {

StoreImpl::StoreImpl(Scheduler& scheduler, std::unique_ptr<Engine> engine, HousekeepingOptions options)
    : scheduler_(scheduler),
      engine_(std::move(engine)),
      housekeeper_(scheduler, *engine_, options),
      allocated_counts_(engine_->tree(), engine_->parts()),
      verbs_(scheduler),
      trash_lock_(scheduler),
      wall_clock_(std::move(options.wall_clock)),
      policy_interval_(options.policy_interval),
      policies_running_(scheduler),
      flatten_ended_(scheduler) {
  engine_->make_room = [this] { return make_room(); };
}

void StoreImpl::start() {
  housekeeper_.start();
  if (require_writable() && !mutated(Mutation::kCutNotFinished)) spawn(finish_cuts());
  start_policies();
  tell_bad_bases();
  resume_flattens();
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
  return place == holders_.end() || place->second.empty() ? "nobody" : place->second.front().description;
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
  if (info.kind == NodeInfo::Kind::kHead) info.quota = quota_of(node.value.disk);
  info.attachments = holders_of(node.id);
  info.holds = node.value.holds;
  info.base = describe_base(node.value.branch);
  info.expires_unix_ms = node.value.expires_unix_ms;
  info.group = {node.value.group.id.value, node.value.group.taken};
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
  // What is alive and stands on a disk in the trash is there too; what was removed may wait to be reclaimed
  // there, and is left out with it.
  struct Next {
    NodeId id;
    bool in_trash;
  };
  std::vector<Next> open;
  for (const auto& [id, node] : tree.nodes()) {
    if (tree.node(node.value.parent) == nullptr) open.push_back({id, false});
  }
  std::reverse(open.begin(), open.end());
  while (!open.empty()) {
    const Next next = open.back();
    const TreeNode& node = *tree.node(next.id);
    open.pop_back();
    const bool dead = node.value.state == NodeState::kDead;
    const bool in_trash = tree.trashed(node.value.disk) || (dead && next.in_trash);
    if (disk ? wanted.contains(node.id) : !in_trash) nodes.push_back(describe(node));
    for (auto child = node.children.rbegin(); child != node.children.rend(); ++child)
      open.push_back({*child, in_trash});
  }
  weave_bookmarks(disk ? std::optional(tree.find_disk(*disk)->id) : std::nullopt, nodes);
  co_return nodes;
}

Task<Outcome<NodeInfo>> StoreImpl::info(Spec spec) {
  const Tree& tree = engine_->tree();
  NodeInfo info;
  if (const NodeId id = bookmark(spec); id.value != 0) {
    info = describe_bookmark(id);
  } else {
    auto node = require_node(spec);
    if (!node) co_return std::unexpected(node.error());
    info = describe(**node);
  }
  if (tree.has_bookmarks(tree.find_disk(spec.disk)->id))
    co_return co_await with_woven_parent(std::move(info), spec.disk);
  const TreeNode* above = tree.node(NodeId{info.parent});
  while (above != nullptr && above->value.state != NodeState::kSnapshot)
    above = tree.node(above->value.parent);
  if (above != nullptr)
    info.continues = Spec{tree.disk(above->value.disk)->value.name, above->value.name}.text();
  co_return info;
}

Task<Outcome<GroupInfo>> StoreImpl::group(Spec snapshot) {
  if (bookmark(snapshot).value != 0) co_return GroupInfo{0, 1, {std::move(snapshot)}};
  auto node = require_snapshot(snapshot, "a group");
  if (!node) co_return std::unexpected(node.error());
  const Tree& tree = engine_->tree();
  const NodeGroup& group = (*node)->value.group;
  if (group.id.value == 0) co_return GroupInfo{0, 1, {std::move(snapshot)}};
  GroupInfo info{group.id.value, group.taken};
  for (const NodeId id : tree.group(group.id)) {
    const NodeValue& value = tree.node(id)->value;
    if (!tree.trashed(value.disk)) info.snapshots.push_back({tree.disk(value.disk)->value.name, value.name});
  }
  std::ranges::sort(info.snapshots, {}, &Spec::disk);
  co_return info;
}

// Where bookmarks are parents, too.
Task<Outcome<NodeInfo>> StoreImpl::with_woven_parent(NodeInfo info, std::string disk) {
  auto nodes = co_await tree(std::move(disk));
  if (!nodes) co_return std::unexpected(nodes.error());
  const auto by_id = [&](std::uint64_t id) { return std::ranges::find(*nodes, id, &NodeInfo::id); };
  const auto self = by_id(info.id);
  if (self == nodes->end()) co_return info;
  info.parent = self->parent;
  auto above = by_id(info.parent);
  while (above != nodes->end() && above->snapshot.empty()) above = by_id(above->parent);
  if (above != nodes->end()) info.continues = Spec{above->disk, above->snapshot}.text();
  co_return info;
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
  for (const auto& [id, spec] : leaving->bookmarks) preview.specs.push_back(spec);
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
    if (superblock.slab_count < superblock.max_slabs) {
      const std::uint64_t slab_bytes = superblock.slab_blocks * kBlockBytes;
      std::uint64_t left = superblock.max_slabs - superblock.slab_count;
      if (info.grows) left = std::min(left, parts.pool.file(member).room_bytes().value_or(0) / slab_bytes);
      info.room_bytes = left * slab_bytes;
    }
    infos.push_back(info);
  }
  // Members share one allocation; usage is told where it is exact, for the pool as a whole.
  const Allocator& allocator = parts.allocator;
  const std::uint64_t taken = allocator.data_blocks() - allocator.free_blocks() - allocator.returned_blocks();
  infos.front().used_bytes = allocator.owned_data_blocks() * kBlockBytes;
  infos.front().reserved_bytes = (taken - std::min(taken, allocator.owned_data_blocks())) * kBlockBytes;
  co_return infos;
}

Task<Outcome<std::vector<DiffRange>>> StoreImpl::diff(Spec from, Spec to, std::uint64_t from_offset) {
  auto a = require_diff_point(from);
  if (!a) co_return std::unexpected(a.error());
  auto b = require_node(to);
  if (!b) co_return std::unexpected(b.error());
  Tree& tree = engine_->tree();
  const std::uint64_t size = (*b)->value.size_bytes;
  const DiffPoint second{(*b)->id, tree.view_of(**b), size};
  if (from_offset > size) {
    co_return refuse(ErrorKind::kInvalid,
                     fmt::format("{}: offset {} is beyond its end ({})", to.text(), from_offset, size));
  }
  if (tree.meeting_point(a->view, second.view).branch.value == 0) {
    co_return refuse(
        ErrorKind::kUntracked,
        fmt::format("{} and {} are not of one tree, so nothing was tracked between them: copy in full",
                    from.text(), to.text()));
  }
  for (const DiffPoint& base : {*a, second}) pin(base, 1);
  auto found = co_await find_differences(*a, second, BlockIndex{from_offset / kBlockBytes});
  for (const DiffPoint& base : {*a, second}) pin(base, -1);
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

// Behind its end the first side is zeroes, whatever its map still has there: there may have been no room to
// cut its last block in two, or an older engine that did not finish what a crash had interrupted.
Task<Result<std::vector<BlockDifference>>> StoreImpl::find_differences(DiffPoint a, DiffPoint b,
                                                                       BlockIndex from) {
  Tree& tree = engine_->tree();
  LeafMap& map = engine_->map();
  const BlockIndex end{round_up(b.size_bytes, kBlockBytes) / kBlockBytes};
  const BlockIndex end_of_a{round_up(a.size_bytes, kBlockBytes) / kBlockBytes};
  const BlockIndex both = std::min(end, end_of_a);
  Result<std::vector<BlockDifference>> found;
  if (from < both && a.data) found = co_await diff_views(tree, map, a.view, b.view, from, both);
  if (from < both && !a.data) found = co_await changed_blocks(tree, map, a.view, b.view, from, both);
  if (!found || a.size_bytes >= b.size_bytes) co_return found;
  // The block in which it ends, too, where nothing was written to it.
  const bool told = !found->empty() && found->back().first.next(found->back().count) == both;
  const BlockIndex rest{told ? both.value : a.size_bytes / kBlockBytes};
  auto beyond = co_await blocks_of_view(tree, map, b.view, std::max(from, rest), end);
  if (!beyond) co_return std::unexpected(beyond.error());
  found->insert(found->end(), beyond->begin(), beyond->end());
  co_return found;
}

void StoreImpl::let_go(NodeId node, std::list<OpenBy>::iterator place) {
  auto found = holders_.find(node);
  found->second.erase(place);
  if (found->second.empty()) holders_.erase(found);
}

Task<Outcome<std::unique_ptr<BlockDevice>>> StoreImpl::open_device(Spec spec, Access access, Holder holder) {
  // A rollback or a removal under way decides first whether the disk is still there.
  co_await verbs_.lock();
  auto device = co_await do_open_device(std::move(spec), access, std::move(holder));
  verbs_.unlock();
  co_return device;
}

Task<Outcome<std::unique_ptr<BlockDevice>>> StoreImpl::do_open_device(Spec spec, Access access,
                                                                      Holder holder) {
  if (const NodeId base = bookmark(spec); access == Access::kBase && base.value != 0)
    co_return open_bookmark(base, std::move(holder));
  auto node = require_node(spec);
  if (!node) co_return std::unexpected(node.error());
  const bool writes = access == Access::kReadWrite;
  if (spec.is_snapshot() && writes) {
    co_return refuse(ErrorKind::kReadOnly,
                     fmt::format("{} is a snapshot and never changes: clone it to write", spec.text()));
  }
  auto usable = require_base(**node);
  if (usable && writes) usable = require_writable();
  if (usable && writes)
    usable = require_no_attachment(*engine_->tree().find_disk(spec.disk), "writing to it");
  const NodeId id = (*node)->id;
  if (usable && writes) usable = require_no_other_way(id, spec, holder);
  if (!usable) co_return std::unexpected(usable.error());
  if (writes) usable = co_await count_for_quota((*node)->value.disk);
  if (!usable) co_return std::unexpected(usable.error());
  if (spec.is_snapshot())
    co_return make_snapshot_device(engine_->parts(), id, held_by(id, {std::move(holder)}));
  co_return open_head(id, spec.disk, !writes, {std::move(holder), writes});
}

// Answers what ends it.
std::function<void()> StoreImpl::held_by(NodeId node, OpenBy holder) {
  std::list<OpenBy>& holders = holders_[node];
  const auto place = holders.insert(holders.end(), std::move(holder));
  return [this, node, place] { let_go(node, place); };
}

std::unique_ptr<BlockDevice> StoreImpl::open_head(NodeId head, const std::string& disk, bool read_only,
                                                  OpenBy holder) {
  Parts& parts = engine_->parts();
  const std::uint64_t size_bytes = engine_->tree().node(head)->value.size_bytes;
  return make_head_device(parts, engine_->head(head, disk), size_bytes, read_only,
                          held_by(head, std::move(holder)));
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
    engine_->reclaimer().look_again();
    housekeeper_.wake_reclaimer();
    reclaimed = co_await housekeeper_.reclaimed();
  }
  if (!reclaimed) co_return refuse(reclaimed.error(), "giving back space");
  auto report = co_await check_engine(scheduler_, *engine_, read_data);
  if (report) check_bases(*report);
  co_return report;
}

Task<Outcome<std::string>> StoreImpl::dump() {
  auto text = co_await dump_engine(scheduler_, *engine_);
  co_return text;
}

Task<Outcome<ReclaimInfo>> StoreImpl::reclaim(std::optional<std::string> disk) {
  std::optional<DiskId> id;
  if (disk) {
    auto found = require_disk(*disk);
    if (!found) co_return std::unexpected(found.error());
    id = (*found)->id;
  }
  const Reclaimer::Backlog left = engine_->reclaimer().backlog(id);
  co_return ReclaimInfo{left.nodes, left.looked_bytes, left.total_bytes};
}

Task<Outcome<>> StoreImpl::wait_for_reclaim() {
  if (engine_->read_only()) co_return Outcome<>{};
  engine_->reclaimer().look_again();
  housekeeper_.wake_reclaimer();
  auto done = co_await housekeeper_.reclaimed();
  if (!done) co_return refuse(done.error(), "giving back space");
  // What was freed leaves quarantine with its proof, once the reads of that time are done.
  Parts& parts = engine_->parts();
  while (parts.pending.quarantined_blocks() != 0) {
    done = co_await parts.journal.prove();
    if (!done) co_return refuse(done.error(), "giving back space");
    settle_pending(parts);
    if (parts.pending.quarantined_blocks() != 0) co_await sleep_for(scheduler_, std::chrono::milliseconds(1));
  }
  co_return Outcome<>{};
}

Task<Outcome<>> StoreImpl::close() {
  co_await stop_policies();
  co_await interrupt_flattens();
  co_await verbs_.lock();
  if (!holders_.empty()) {
    verbs_.unlock();
    start_policies();
    resume_flattens();
    co_return refuse(ErrorKind::kBusy, fmt::format("the store is still in use ({})",
                                                   holders_.begin()->second.front().description));
  }
  co_await housekeeper_.stop();
  Outcome<> stopped;
  if (!engine_->read_only()) stopped = co_await engine_->stop();
  closed_ = true;
  verbs_.unlock();
  co_return stopped;
}

}  // namespace coppice
