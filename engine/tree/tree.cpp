#include "tree/tree.h"

#include <algorithm>
#include <cerrno>

#include "base/mutation.h"
#include "map/leaf_entry.h"

namespace coppice {

namespace {

constexpr std::string_view kBranchPrefix = "branch/";
constexpr std::string_view kNodePrefix = "node/";
constexpr std::string_view kDiskPrefix = "disk/";
constexpr std::string_view kTrashPrefix = "trash/";
constexpr std::string_view kSchedulePrefix = "schedule/";
constexpr std::string_view kAttachPrefix = "attach/";
constexpr std::string_view kBasePrefix = "base/";
constexpr std::string_view kBookmarkPrefix = "bookmark/";
constexpr std::string_view kQuotaPrefix = "quota/";

std::unexpected<Error> damaged() {
  return fail(ErrorKind::kCorrupt, EIO, "the tree's metadata is damaged");
}

// A value of one kind comes, changes or goes.
template <class Id, class Value, class Decode>
Result<> apply_value(std::map<Id, Value>& values, Id id, const MetaEdit& edit, Decode decode) {
  values.erase(id);
  if (edit.erase) return {};
  auto value = decode(edit.value);
  if (!value) return damaged();
  values[id] = std::move(*value);
  return {};
}

std::unexpected<Error> newer() {
  return fail(ErrorKind::kUnsupported, EOPNOTSUPP,
              "a disk or a snapshot has a property that this version does not know: use a newer coppice");
}

}  // namespace

Result<> Tree::load(MetaStore& meta) {
  auto iterator = meta.iterate(Family::kMeta, Reach::kAll);
  for (iterator->seek(""); iterator->valid(); iterator->next()) {
    const std::string key(iterator->key());
    if (key == kAppliedKey || key == kStoreKey || key == kSuspectsKey) continue;
    auto applied = apply_one({key, std::string(iterator->value()), false});
    if (!applied) return applied;
  }
  dirty_.clear();
  left_points_.clear();
  name_disks();
  return iterator->status();
}

// A branch without a node of its own is a part of the line of one that came from it: a clone needs the node
// that it was made of. Those have larger numbers. Now, for they may go, and what was charged to a disk must
// be given back to the same.
void Tree::name_disks() {
  std::unordered_map<BranchId, DiskId> below;
  for (auto branch = branches_.rbegin(); branch != branches_.rend(); ++branch) {
    const auto& [id, value] = *branch;
    if (const auto heir = below.find(id); heir != below.end()) branch_disks_.try_emplace(id, heir->second);
    if (const auto known = branch_disks_.find(id); known != branch_disks_.end())
      below[value.parent] = known->second;
  }
}

Result<> Tree::apply(const Edits& edits) {
  ++changes_;
  for (const MetaEdit& edit : edits) {
    auto applied = apply_one(edit);
    if (!applied) return applied;
    dirty_.insert(edit.key);
  }
  return {};
}

namespace {

template <class Id>
void push_past(Id& counter, std::uint64_t used) {
  if (counter.value <= used) counter.value = used + 1;
}

}  // namespace

void Tree::note_epoch(Epoch epoch) {
  if (mutated(Mutation::kEpochNotNoted)) return;
  push_past(counters_.next_epoch, epoch.value);
}

Result<> Tree::apply_one(const MetaEdit& edit) {
  if (auto id = id_of_key(edit.key, kBranchPrefix)) return apply_branch(BranchId{*id}, edit);
  if (auto id = id_of_key(edit.key, kNodePrefix)) {
    if (edit.erase) {
      erase_node(NodeId{*id});
      return {};
    }
    auto value = decode_node(edit.value);
    if (!value) return newer_node(edit.value) ? newer() : damaged();
    push_past(counters_.next_node, *id);
    put_node(NodeId{*id}, *value);
    return {};
  }
  if (auto id = id_of_key(edit.key, kDiskPrefix)) return apply_disk(DiskId{*id}, edit);
  if (auto id = id_of_key(edit.key, kTrashPrefix)) return apply_trash(DiskId{*id}, edit);
  if (auto id = id_of_key(edit.key, kSchedulePrefix))
    return apply_value(schedules_, DiskId{*id}, edit, decode_schedule);
  if (auto id = id_of_key(edit.key, kAttachPrefix))
    return apply_value(attachments_, DiskId{*id}, edit, decode_attachments);
  if (auto id = id_of_key(edit.key, kBasePrefix))
    return apply_value(bases_, BranchId{*id}, edit, decode_base);
  if (auto id = id_of_key(edit.key, kQuotaPrefix))
    return apply_value(quotas_, DiskId{*id}, edit, decode_quota);
  if (auto id = id_of_key(edit.key, kBookmarkPrefix)) return apply_bookmark(NodeId{*id}, edit);
  if (edit.key == kCountersKey) {
    auto value = decode_counters(edit.value);
    if (!value) return damaged();
    counters_.next_epoch = std::max(counters_.next_epoch, value->next_epoch);
    counters_.next_branch = std::max(counters_.next_branch, value->next_branch);
    counters_.next_node = std::max(counters_.next_node, value->next_node);
    counters_.next_disk = std::max(counters_.next_disk, value->next_disk);
    return {};
  }
  return damaged();
}

void Tree::add_point(View point) {
  if (point.branch.value != 0) points_[point.branch].insert(point.epoch);
}

void Tree::drop_point(View point) {
  const auto place = points_.find(point.branch);
  if (place == points_.end()) return;
  std::multiset<Epoch>& epochs = place->second;
  const auto epoch = epochs.find(point.epoch);
  if (epoch == epochs.end()) return;
  epochs.erase(epoch);
  if (point.epoch != kForever && !epochs.contains(point.epoch)) left_points_.push_back(point);
  if (epochs.empty()) points_.erase(place);
}

std::optional<Epoch> Tree::point_at_or_behind(View view) const {
  const auto place = points_.find(view.branch);
  if (place == points_.end()) return std::nullopt;
  const auto epoch = place->second.lower_bound(view.epoch);
  if (epoch == place->second.end()) return std::nullopt;
  return *epoch == kForever ? branches_.at(view.branch).current : *epoch;
}

Epoch Tree::point_before(View view) const {
  const auto place = points_.find(view.branch);
  if (place == points_.end()) return Epoch{0};
  const auto behind = place->second.lower_bound(view.epoch);
  return behind == place->second.begin() ? Epoch{0} : *std::prev(behind);
}

Result<> Tree::apply_branch(BranchId id, const MetaEdit& edit) {
  const auto old = branches_.find(id);
  std::optional<View> left;
  if (old != branches_.end()) left = View{old->second.parent, old->second.fork_epoch};
  if (edit.erase) {
    if (left) drop_point(*left);
    branches_.erase(id);
    branch_disks_.erase(id);
    return {};
  }
  auto value = decode_branch(edit.value);
  if (!value) return damaged();
  push_past(counters_.next_branch, id.value);
  note_epoch(std::max(value->current, value->fork_epoch));
  branches_[id] = *value;
  add_point({value->parent, value->fork_epoch});
  if (left) drop_point(*left);
  return {};
}

Result<> Tree::apply_bookmark(NodeId id, const MetaEdit& edit) {
  push_past(counters_.next_node, id.value);
  const bool holds = !mutated(Mutation::kBookmarkHoldsNothing);
  if (const auto old = bookmarks_.find(id); old != bookmarks_.end()) {
    bookmark_names_.erase({old->second.disk, old->second.name});
    if (holds) drop_point({old->second.branch, old->second.epoch});
  }
  auto applied = apply_value(bookmarks_, id, edit, decode_bookmark);
  if (const auto now = bookmarks_.find(id); now != bookmarks_.end()) {
    bookmark_names_[{now->second.disk, now->second.name}] = id;
    branch_disks_[now->second.branch] = now->second.disk;
    if (holds) add_point({now->second.branch, now->second.epoch});
  }
  return applied;
}

Result<> Tree::apply_disk(DiskId id, const MetaEdit& edit) {
  drop_name(id);
  disks_.erase(id);
  if (edit.erase) return {};
  auto value = decode_disk(edit.value);
  if (!value) return newer_disk(edit.value) ? newer() : damaged();
  push_past(counters_.next_disk, id.value);
  disks_[id] = {id, *value};
  add_name(id);
  return {};
}

Result<> Tree::apply_trash(DiskId id, const MetaEdit& edit) {
  if (edit.erase) {
    trash_.erase(id);
    add_name(id);
    return {};
  }
  auto value = decode_trash(edit.value);
  if (!value) return damaged();
  trash_[id] = *value;
  drop_name(id);
  return {};
}

void Tree::add_name(DiskId id) {
  const TreeDisk* known = disk(id);
  if (known != nullptr && !trashed(id)) disk_names_[known->value.name] = id;
}

// While loading, a disk of the trash comes before the word that it is there, and may stand in the place of
// one that has its name now.
void Tree::drop_name(DiskId id) {
  const TreeDisk* known = disk(id);
  const auto place = known == nullptr ? disk_names_.end() : disk_names_.find(known->value.name);
  if (place == disk_names_.end() || place->second != id) return;
  disk_names_.erase(place);
  for (const auto& [other, heir] : disks_) {
    if (other != id && heir.value.name == known->value.name) add_name(other);
  }
}

namespace {

View point_of(const NodeValue& node) {
  return {node.branch, node.state == NodeState::kHead ? kForever : node.epoch};
}

}  // namespace

void Tree::put_node(NodeId id, const NodeValue& value) {
  auto [place, is_new] = nodes_.try_emplace(id);
  TreeNode& node = place->second;
  if (!is_new) {
    if (node.value.state == NodeState::kSnapshot) snapshot_names_.erase({node.value.disk, node.value.name});
    if (node.value.parent != value.parent) {
      auto parent = nodes_.find(node.value.parent);
      if (parent != nodes_.end()) std::erase(parent->second.children, id);
    }
  }
  const bool new_parent = is_new || node.value.parent != value.parent;
  add_point(point_of(value));
  if (node.id.value != 0) drop_point(point_of(node.value));
  drop_from_disk(node.value, id);
  drop_from_group(node.value, id);
  if (value.group.id.value != 0) groups_[value.group.id].insert(id);
  if (value.state != NodeState::kDead) disk_nodes_[value.disk].insert(id);
  node.id = id;
  node.value = value;
  branch_disks_[value.branch] = value.disk;
  // While loading, or within one record, a parent may come after its child: an entry is made for it.
  if (new_parent && value.parent.value != 0) nodes_[value.parent].children.push_back(id);
  if (value.state == NodeState::kSnapshot) snapshot_names_[{value.disk, value.name}] = id;
  if (value.state == NodeState::kDead) {
    dead_.insert(id);
  } else {
    dead_.erase(id);
  }
}

void Tree::drop_from_disk(const NodeValue& value, NodeId id) {
  const auto place = disk_nodes_.find(value.disk);
  if (place == disk_nodes_.end()) return;
  place->second.erase(id);
  if (place->second.empty()) disk_nodes_.erase(place);
}

void Tree::drop_from_group(const NodeValue& value, NodeId id) {
  const auto place = groups_.find(value.group.id);
  if (place == groups_.end()) return;
  place->second.erase(id);
  if (place->second.empty()) groups_.erase(place);
}

std::vector<NodeId> Tree::group(NodeId id) const {
  const auto place = groups_.find(id);
  if (place == groups_.end()) return {};
  return {place->second.begin(), place->second.end()};
}

void Tree::set_pending(NodeId id, bool pending) {
  node(id)->pending = pending;
  if (pending) {
    pending_.insert(id);
  } else {
    pending_.erase(id);
  }
}

void Tree::erase_node(NodeId id) {
  auto place = nodes_.find(id);
  if (place == nodes_.end()) return;
  dead_.erase(id);
  const NodeValue& value = place->second.value;
  if (value.state == NodeState::kSnapshot) snapshot_names_.erase({value.disk, value.name});
  drop_point(point_of(value));
  drop_from_disk(value, id);
  drop_from_group(value, id);
  pending_.erase(id);
  auto parent = nodes_.find(value.parent);
  if (parent != nodes_.end()) std::erase(parent->second.children, id);
  nodes_.erase(place);
}

namespace {

template <class Entry>
const auto& value_of(const Entry& entry) {
  if constexpr (requires { entry.value; }) {
    return entry.value;
  } else {
    return entry;
  }
}

// Nothing: the key is of another kind, or what it names is gone.
template <class Values>
std::optional<std::string> encoded_in(const Values& values, std::string_view prefix, const std::string& key) {
  const auto id = id_of_key(key, prefix);
  if (!id) return std::nullopt;
  const auto place = values.find(typename Values::key_type{*id});
  if (place == values.end()) return std::nullopt;
  return encode(value_of(place->second));
}

}  // namespace

void Tree::collect_dirty(MetaBatch& into) {
  if (dirty_.empty()) return;
  for (const std::string& key : dirty_) {
    std::optional<std::string> value;
    const auto look_in = [&](const auto& values, std::string_view prefix) {
      if (!value) value = encoded_in(values, prefix, key);
    };
    look_in(branches_, kBranchPrefix);
    look_in(nodes_, kNodePrefix);
    look_in(disks_, kDiskPrefix);
    look_in(trash_, kTrashPrefix);
    look_in(schedules_, kSchedulePrefix);
    look_in(attachments_, kAttachPrefix);
    look_in(bases_, kBasePrefix);
    look_in(quotas_, kQuotaPrefix);
    look_in(bookmarks_, kBookmarkPrefix);
    if (value) {
      into.put(Family::kMeta, key, std::move(*value));
    } else {
      into.erase(Family::kMeta, key);
    }
  }
  into.put(Family::kMeta, std::string(kCountersKey), encode(counters_));
  dirty_.clear();
}

BranchParents::Parent Tree::parent_of(BranchId branch) const {
  auto place = branches_.find(branch);
  if (place == branches_.end()) return {};
  return {place->second.parent, place->second.fork_epoch};
}

TreeNode* Tree::node(NodeId id) {
  auto place = nodes_.find(id);
  return place == nodes_.end() ? nullptr : &place->second;
}
const TreeNode* Tree::node(NodeId id) const {
  auto place = nodes_.find(id);
  return place == nodes_.end() ? nullptr : &place->second;
}

const TreeDisk* Tree::disk(DiskId id) const {
  auto place = disks_.find(id);
  return place == disks_.end() ? nullptr : &place->second;
}

const ScheduleValue* Tree::schedule(DiskId id) const {
  auto place = schedules_.find(id);
  return place == schedules_.end() ? nullptr : &place->second;
}

const AttachmentsValue* Tree::attachments(DiskId id) const {
  auto place = attachments_.find(id);
  return place == attachments_.end() ? nullptr : &place->second;
}

BranchId Tree::root_of(BranchId branch) const {
  for (Parent parent = parent_of(branch); parent.branch.value != 0; parent = parent_of(branch))
    branch = parent.branch;
  return branch;
}

const BaseValue* Tree::base(BranchId branch) const {
  if (bases_.empty()) return nullptr;
  auto place = bases_.find(root_of(branch));
  return place == bases_.end() ? nullptr : &place->second;
}

const TreeDisk* Tree::find_disk(const std::string& name) const {
  auto place = disk_names_.find(name);
  return place == disk_names_.end() ? nullptr : disk(place->second);
}

TreeNode* Tree::find_snapshot(DiskId disk, const std::string& name) {
  auto place = snapshot_names_.find({disk, name});
  return place == snapshot_names_.end() ? nullptr : node(place->second);
}

DiskId Tree::disk_of(BranchId branch) const {
  const auto known = branch_disks_.find(branch);
  return known == branch_disks_.end() ? DiskId{0} : known->second;
}

BranchId Tree::birthplace(BranchId branch, Epoch birth) const {
  while (branch.value != 0 && birth <= parent_of(branch).fork_epoch) branch = parent_of(branch).branch;
  return branch;
}

NodeId Tree::find_bookmark(DiskId disk, const std::string& name) const {
  const auto place = bookmark_names_.find({disk, name});
  return place == bookmark_names_.end() ? NodeId{0} : place->second;
}

bool Tree::has_bookmarks(DiskId disk) const {
  const auto first = bookmark_names_.lower_bound({disk, ""});
  return first != bookmark_names_.end() && first->first.first == disk;
}

bool Tree::snapshot_name_taken(DiskId disk, const std::string& name) const {
  return snapshot_names_.contains({disk, name}) || find_bookmark(disk, name).value != 0;
}

std::vector<NodeId> Tree::nodes_of(DiskId disk) const {
  const auto place = disk_nodes_.find(disk);
  if (place == disk_nodes_.end()) return {};
  return {place->second.begin(), place->second.end()};
}

View Tree::view_of(const TreeNode& node) const {
  if (node.value.state == NodeState::kHead)
    return {node.value.branch, branches_.at(node.value.branch).current};
  return {node.value.branch, node.value.epoch};
}

Epoch Tree::free_floor(NodeId head, Epoch epoch, LeafIndex leaf) const {
  const TreeNode* at = node(node(head)->value.parent);
  while (at != nullptr) {
    const NodeValue& value = at->value;
    // A snapshot taken after the write began sees what the write leaves behind, not what it replaces.
    const bool younger = value.epoch >= epoch;
    // The sweep has passed this leaf and the node is about to vanish: what it kept is ours to free.
    const bool swept =
        value.state == NodeState::kDead && !at->pending && at->children.size() == 1 && leaf < value.cursor;
    const bool ignored =
        mutated(Mutation::kDeadNodesDontCount) && value.state == NodeState::kDead && !at->pending;
    if (!younger && !swept && !ignored) return value.epoch;
    at = node(value.parent);
  }
  return Epoch{0};
}

std::vector<Tree::Stretch> Tree::path(View from, Epoch after) const {
  std::vector<Stretch> stretches;
  BranchId branch = from.branch;
  Epoch up_to = from.epoch;
  while (branch.value != 0 && up_to > after) {
    stretches.push_back({branch, after, up_to});
    const Parent parent = parent_of(branch);
    branch = parent.branch;
    up_to = parent.fork_epoch;
  }
  return stretches;
}

View Tree::meeting_point(View a, View b) const {
  std::map<BranchId, Epoch> on_a;
  for (const Stretch& stretch : path(a, Epoch{0})) on_a[stretch.branch] = stretch.up_to;
  for (const Stretch& stretch : path(b, Epoch{0})) {
    auto shared = on_a.find(stretch.branch);
    if (shared != on_a.end()) return {stretch.branch, std::min(shared->second, stretch.up_to)};
  }
  return {};
}

}  // namespace coppice
