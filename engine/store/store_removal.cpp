// Removal: what of a disk or a snapshot may go, and its going. What goes to the trash first: store_trash.cpp.
#include <fmt/format.h>

#include <algorithm>

#include "store/store_impl.h"

namespace coppice {

Task<Outcome<>> StoreImpl::remove(std::vector<Spec> specs, bool with_snapshots) {
  auto writable = require_writable();
  if (!writable) co_return std::unexpected(writable.error());
  co_await verbs_.lock();
  auto done = co_await do_remove(std::move(specs), with_snapshots);
  verbs_.unlock();
  if (done) housekeeper_.wake_reclaimer();
  co_return done;
}

bool StoreImpl::Leaving::contains(NodeId node) const {
  return std::ranges::any_of(nodes, [node](const auto& entry) { return entry.first == node; });
}
bool StoreImpl::Leaving::contains(DiskId disk) const {
  return std::ranges::find(disks, disk) != disks.end();
}

// Dead nodes in between are only waiting to be reclaimed; what stands on them stands on this node.
const TreeNode* StoreImpl::stands_on(const TreeNode& node,
                                     const std::function<bool(const TreeNode&)>& stays) const {
  const Tree& tree = engine_->tree();
  std::vector<NodeId> below = node.children;
  while (!below.empty()) {
    const TreeNode& child = *tree.node(below.back());
    below.pop_back();
    if (child.value.state == NodeState::kDead) {
      below.insert(below.end(), child.children.begin(), child.children.end());
    } else if (child.value.disk != node.value.disk && stays(child)) {
      return &child;
    }
  }
  return nullptr;
}

// A node may go unless someone has it open or holds it, or another disk, that stays, continues from it. In
// the trash it may lie below what came there before it.
Outcome<> StoreImpl::check_removal(const TreeNode& node, const Spec& spec, const Leaving& leaving,
                                   bool to_trash) {
  if (node.value.state == NodeState::kHead) {
    auto free = require_no_attachment(*engine_->tree().disk(node.value.disk), "removing it");
    if (!free) return free;
  }
  if (holders_of(node.id) != 0) {
    return refuse(ErrorKind::kBusy, fmt::format("{} is open ({}): close it before removing it", spec.text(),
                                                first_holder(node.id)));
  }
  if (!node.value.holds.empty()) {
    return refuse(ErrorKind::kBusy,
                  fmt::format("{} is held by {}: 'coppice release {} {}' lets it go", spec.text(),
                              fmt::join(node.value.holds, ", "), spec.text(), node.value.holds.front()));
  }
  if (node.pins != 0) {
    return refuse(ErrorKind::kBusy,
                  fmt::format("{} is being read by a diff: try again when that is done", spec.text()));
  }
  const Tree& tree = engine_->tree();
  const TreeNode* clone = stands_on(node, [&](const TreeNode& child) {
    return !leaving.contains(child.id) && !(to_trash && tree.trashed(child.value.disk));
  });
  if (clone == nullptr) return {};
  const std::string name = tree.disk(clone->value.disk)->value.name;
  if (tree.trashed(clone->value.disk)) {
    return refuse(ErrorKind::kBusy, fmt::format("{} was cloned to disk {}, which is in the trash and still "
                                                "stands on it: 'coppice rm --trash {}' removes that first",
                                                spec.text(), name, name));
  }
  return refuse(ErrorKind::kBusy,
                fmt::format("{} was cloned to disk {}, which still stands on it: remove that first",
                            spec.text(), name));
}

Outcome<StoreImpl::Leaving> StoreImpl::plan_leaving(const std::vector<Spec>& specs, bool with_snapshots) {
  const Tree& tree = engine_->tree();
  Leaving leaving;
  const auto add = [&](NodeId id, Spec spec) {
    if (!leaving.contains(id)) leaving.nodes.emplace_back(id, std::move(spec));
  };
  for (const Spec& spec : specs) {
    auto node = require_node(spec);
    if (!node) return std::unexpected(node.error());
    add((*node)->id, spec);
    if (spec.is_snapshot()) continue;
    const DiskId disk = (*node)->value.disk;
    leaving.disks.push_back(disk);
    if (!with_snapshots) continue;
    for (const NodeId id : tree.nodes_of(disk)) add(id, {spec.disk, tree.node(id)->value.name});
  }
  for (const DiskId disk : leaving.disks) {
    const std::vector<NodeId> nodes = tree.nodes_of(disk);
    const auto left = std::ranges::count_if(nodes, [&](NodeId id) { return !leaving.contains(id); });
    if (left == 0) continue;
    return refuse(
        ErrorKind::kBusy,
        fmt::format("disk {} has {} snapshot{}: remove them first, or all together with --snapshots",
                    tree.disk(disk)->value.name, left, left == 1 ? "" : "s"));
  }
  return leaving;
}

Outcome<> StoreImpl::check_leaving(const Leaving& leaving, bool to_trash) {
  for (const auto& [id, spec] : leaving.nodes) {
    const TreeNode& node = *engine_->tree().node(id);
    auto free = check_removal(node, spec, leaving, to_trash && leaving.contains(node.value.disk));
    if (!free) return free;
  }
  return {};
}

Task<Outcome<>> StoreImpl::do_remove(std::vector<Spec> specs, bool with_snapshots) {
  auto leaving = plan_leaving(specs, with_snapshots);
  if (!leaving) co_return std::unexpected(leaving.error());
  auto free = check_leaving(*leaving, false);
  if (!free) co_return free;
  std::vector<NodeId> nodes;
  for (const auto& [id, spec] : leaving->nodes) nodes.push_back(id);
  auto done = co_await kill(std::move(nodes), specs.front().text());
  co_return done;
}

// Nodes that are no longer there when it comes to it are left out.
Task<Outcome<>> StoreImpl::kill(std::vector<NodeId> nodes, std::string object) {
  const Tree& tree = engine_->tree();
  const auto plan = [&] {
    Tree::Edits edits;
    for (const NodeId id : nodes) {
      const TreeNode* node = tree.node(id);
      if (node == nullptr || node->value.state == NodeState::kDead) continue;
      const bool head = node->value.state == NodeState::kHead;
      const Tree::Edits some = head ? tree.plan_remove_disk(node->value.disk) : tree.plan_kill_node(id);
      edits.insert(edits.end(), some.begin(), some.end());
    }
    return edits;
  };
  auto done = co_await change(plan, object);
  co_return done;
}

}  // namespace coppice
