// The verbs' changes to the tree, as edits.
#include <algorithm>

#include "base/mutation.h"
#include "tree/tree.h"

namespace coppice {

namespace {

MetaEdit put(std::string key, std::string value) {
  return {std::move(key), std::move(value), false};
}
MetaEdit erase(std::string key) {
  return {std::move(key), {}, true};
}

}  // namespace

Tree::Edits Tree::plan_disk(const std::string& name, std::uint64_t size_bytes, std::uint64_t flags,
                            std::int64_t now_ms) const {
  const DiskId disk = counters_.next_disk;
  const NodeId head = counters_.next_node;
  const BranchId branch = counters_.next_branch;
  NodeValue node;
  node.state = NodeState::kHead;
  node.disk = disk;
  node.branch = branch;
  node.size_bytes = size_bytes;
  node.created_unix_ms = now_ms;
  return {put(branch_key(branch), encode(BranchValue{{}, {}, counters_.next_epoch})),
          put(node_key(head), encode(node)),
          put(disk_key(disk), encode(DiskValue{name, head, now_ms, flags}))};
}

Tree::Edits Tree::plan_base(BranchId root, const BaseValue& base) const {
  return {put(base_key(root), encode(base))};
}

Tree::Edits Tree::plan_no_base(BranchId root) const {
  return {erase(base_key(root))};
}

Tree::Fork Tree::plan_fork(NodeId head_id, std::int64_t now_ms) const {
  const TreeNode& head = *node(head_id);
  const BranchValue& line = branches_.at(head.value.branch);
  const NodeId id = counters_.next_node;
  NodeValue closed = head.value;
  closed.state = NodeState::kDead;
  closed.epoch = line.current;
  closed.created_unix_ms = now_ms;
  closed.cursor = {};
  NodeValue moved = head.value;
  moved.parent = id;
  BranchValue next = line;
  next.current = counters_.next_epoch;
  return {id,
          {put(branch_key(head.value.branch), encode(next)), put(node_key(id), encode(closed)),
           put(node_key(head_id), encode(moved))}};
}

Tree::Edits Tree::plan_label_node(NodeId id, const Label& label) const {
  NodeValue value = node(id)->value;
  value.state = NodeState::kSnapshot;
  value.name = label.name;
  value.note = label.note;
  value.expires_unix_ms = label.expires_unix_ms;
  value.scheduled = label.scheduled;
  value.group = label.group;
  return {put(node_key(id), encode(value))};
}

Tree::Edits Tree::plan_expiry(NodeId id, std::int64_t expires_unix_ms) const {
  NodeValue value = node(id)->value;
  value.expires_unix_ms = expires_unix_ms;
  return {put(node_key(id), encode(value))};
}

Tree::Edits Tree::plan_holds(NodeId id, std::vector<std::string> tags) const {
  NodeValue value = node(id)->value;
  value.holds = std::move(tags);
  return {put(node_key(id), encode(value))};
}

Tree::Edits Tree::plan_kill_node(NodeId id) const {
  return {put(node_key(id), encode(killed(node(id)->value)))};
}

Tree::Edits Tree::plan_rollback(const std::vector<Return>& returns, const std::string& keep_as,
                                std::int64_t now_ms) const {
  NodeGroup group;
  if (returns.size() > 1 && !keep_as.empty())
    group = {disk(returns.front().disk)->value.head, returns.size()};
  NodeId new_head = counters_.next_node;
  BranchId branch = counters_.next_branch;
  Epoch epoch = counters_.next_epoch;
  Edits edits;
  for (const Return& each : returns) {
    DiskValue owner = disk(each.disk)->value;
    const NodeId old_head = owner.head;
    const NodeValue& target = node(each.to)->value;

    NodeValue kept = node(old_head)->value;
    kept.state = keep_as.empty() ? NodeState::kDead : NodeState::kSnapshot;
    kept.name = keep_as;
    kept.note.clear();
    kept.group = group;
    kept.epoch = branches_.at(kept.branch).current;
    kept.created_unix_ms = now_ms;
    kept.cursor = {};

    NodeValue head = node(old_head)->value;
    head.parent = each.to;
    head.branch = branch;
    head.size_bytes = target.size_bytes;
    head.cursor = {};
    owner.head = new_head;
    edits.push_back(put(node_key(old_head), encode(kept)));
    edits.push_back(put(branch_key(branch), encode(BranchValue{target.branch, target.epoch, epoch})));
    edits.push_back(put(node_key(new_head), encode(head)));
    edits.push_back(put(disk_key(each.disk), encode(owner)));
    ++new_head.value;
    ++branch.value;
    ++epoch.value;
  }
  return edits;
}

Tree::Edits Tree::plan_clone(NodeId from, const std::string& name, std::int64_t now_ms) const {
  const TreeNode& origin = *node(from);
  const DiskId disk = counters_.next_disk;
  const NodeId head_id = counters_.next_node;
  const BranchId branch = counters_.next_branch;
  NodeValue head;
  head.state = NodeState::kHead;
  head.parent = from;
  head.disk = disk;
  head.branch = branch;
  head.size_bytes = origin.value.size_bytes;
  head.created_unix_ms = now_ms;
  const BranchValue line{origin.value.branch, origin.value.epoch, counters_.next_epoch};
  const DiskValue made{name, head_id, now_ms, this->disk(origin.value.disk)->value.flags};
  return {put(branch_key(branch), encode(line)), put(node_key(head_id), encode(head)),
          put(disk_key(disk), encode(made))};
}

Tree::Edits Tree::plan_remove_disk(DiskId id) const {
  const NodeId head_id = disk(id)->value.head;
  NodeValue head = node(head_id)->value;
  head.state = NodeState::kDead;
  head.epoch = branches_.at(head.branch).current;
  head.cursor = {};
  Edits edits{put(node_key(head_id), encode(head)), erase(disk_key(id))};
  if (trashed(id)) edits.push_back(erase(trash_key(id)));
  if (schedule(id) != nullptr) edits.push_back(erase(schedule_key(id)));
  if (attachments(id) != nullptr) edits.push_back(erase(attachments_key(id)));
  if (quotas_.contains(id)) edits.push_back(erase(quota_key(id)));
  return edits;
}

Tree::Edits Tree::plan_schedule(DiskId id, const ScheduleValue& schedule) const {
  return {put(schedule_key(id), encode(schedule))};
}

Tree::Edits Tree::plan_no_schedule(DiskId id) const {
  return {erase(schedule_key(id))};
}

Tree::Edits Tree::plan_attachments(DiskId id, const AttachmentsValue& attachments) const {
  return {put(attachments_key(id), encode(attachments))};
}

Tree::Edits Tree::plan_trash(DiskId id, std::int64_t now_ms) const {
  return {put(trash_key(id), encode(TrashValue{now_ms}))};
}

Tree::Edits Tree::plan_undelete(DiskId id, const std::string& name) const {
  DiskValue value = disk(id)->value;
  value.name = name;
  return {put(disk_key(id), encode(value)), erase(trash_key(id))};
}

Tree::Edits Tree::plan_rename_disk(DiskId id, const std::string& name) const {
  DiskValue value = disk(id)->value;
  value.name = name;
  return {put(disk_key(id), encode(value))};
}

Tree::Edits Tree::plan_flags(DiskId id, std::uint64_t flags) const {
  DiskValue value = disk(id)->value;
  value.flags = flags;
  return {put(disk_key(id), encode(value))};
}

Tree::Edits Tree::plan_resize(NodeId head, std::uint64_t size_bytes, LeafIndex cut_up_to) const {
  NodeValue value = node(head)->value;
  value.size_bytes = size_bytes;
  value.cursor = cut_up_to;
  return {put(node_key(head), encode(value))};
}

Tree::Edits Tree::plan_cursor(NodeId id, LeafIndex cursor) const {
  NodeValue value = node(id)->value;
  value.cursor = cursor;
  return {put(node_key(id), encode(value))};
}

void Tree::drop_unused(BranchId branch, Leaving& leaving, std::vector<BranchId>& dropped,
                       Edits& edits) const {
  for (; branches_.contains(branch); ++leaving[branch]) {
    const auto uses = points_.find(branch);
    if (uses != points_.end() && uses->second.size() > leaving[branch]) return;
    if (std::ranges::find(dropped, branch) != dropped.end()) return;
    dropped.push_back(branch);
    edits.push_back(erase(branch_key(branch)));
    if (bases_.contains(branch)) edits.push_back(erase(base_key(branch)));
    branch = branches_.at(branch).parent;
  }
}

Tree::Edits Tree::plan_quota(DiskId id, const QuotaValue& quota) const {
  return {put(quota_key(id), encode(quota))};
}

Tree::Edits Tree::plan_no_quota(DiskId id) const {
  return {erase(quota_key(id))};
}

Tree::Edits Tree::plan_bookmark(NodeId id) const {
  const NodeValue& node = this->node(id)->value;
  const BookmarkValue value{node.disk,       node.branch,          node.epoch,
                            node.size_bytes, node.created_unix_ms, node.name};
  return {put(bookmark_key(id), encode(value))};
}

Tree::Edits Tree::plan_drop_bookmarks(const std::set<NodeId>& ids) const {
  Edits edits;
  std::vector<BranchId> dropped;
  Leaving leaving;
  for (const NodeId id : ids) edits.push_back(erase(bookmark_key(id)));
  const std::size_t holds = mutated(Mutation::kBookmarkHoldsNothing) ? 0 : 1;
  for (const NodeId id : ids) {
    const BranchId branch = bookmarks_.at(id).branch;
    leaving[branch] += holds;
    drop_unused(branch, leaving, dropped, edits);
  }
  return edits;
}

Tree::Edits Tree::plan_remove_node(NodeId id, std::vector<BranchId>& dropped) const {
  const TreeNode& leaving = *node(id);
  Edits edits;
  for (const NodeId child_id : leaving.children) {
    NodeValue child = node(child_id)->value;
    child.parent = leaving.value.parent;
    edits.push_back(put(node_key(child_id), encode(child)));
  }
  edits.push_back(erase(node_key(id)));
  Leaving going{{leaving.value.branch, 1}};
  drop_unused(leaving.value.branch, going, dropped, edits);
  return edits;
}

}  // namespace coppice
