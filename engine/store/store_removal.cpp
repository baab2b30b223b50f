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

void StoreImpl::Leaving::add(NodeId node, Spec spec) {
  if (ids.insert(node).second) nodes.emplace_back(node, std::move(spec));
}
bool StoreImpl::Leaving::contains(DiskId disk) const {
  return std::ranges::find(disks, disk) != disks.end();
}

// Dead nodes in between are only waiting to be reclaimed; what stands on them stands on this node. So does
// what stands on those of other disks that go together with it; those of its own are asked themselves, which
// for thousands is shorter than the way along all of them from each.
const TreeNode* StoreImpl::stands_on(const TreeNode& node,
                                     const std::function<bool(const TreeNode&)>& stays) const {
  const Tree& tree = engine_->tree();
  std::vector<NodeId> below = node.children;
  while (!below.empty()) {
    const TreeNode& child = *tree.node(below.back());
    below.pop_back();
    const bool own = child.value.disk == node.value.disk;
    if (child.value.state == NodeState::kDead || (!own && !stays(child))) {
      below.insert(below.end(), child.children.begin(), child.children.end());
    } else if (!own) {
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
  for (const Spec& spec : specs) {
    if (const NodeId id = bookmark(spec); id.value != 0) {
      leaving.bookmarks.emplace_back(id, spec);
      continue;
    }
    auto node = require_node(spec);
    if (!node) return std::unexpected(node.error());
    leaving.add((*node)->id, spec);
    if (spec.is_snapshot()) continue;
    const DiskId disk = (*node)->value.disk;
    leaving.disks.push_back(disk);
    if (!with_snapshots) continue;
    for (const NodeId id : tree.nodes_of(disk)) leaving.add(id, {spec.disk, tree.node(id)->value.name});
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
  for (const auto& [id, spec] : leaving.bookmarks) {
    auto free = check_bookmark_removal(id, spec);
    if (!free) return free;
  }
  // A disk takes its own along.
  for (const auto& [id, value] : engine_->tree().bookmarks()) {
    if (!leaving.contains(value.disk)) continue;
    auto free = check_bookmark_removal(id, {engine_->tree().disk(value.disk)->value.name, value.name});
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
  std::set<NodeId> bookmarks;
  for (const auto& [id, spec] : leaving->bookmarks) bookmarks.insert(id);
  auto done = co_await kill(std::move(nodes), specs.front().text(), std::move(bookmarks));
  co_return done;
}

// Nodes that are no longer there when it comes to it are left out.
Task<Outcome<>> StoreImpl::kill(std::vector<NodeId> nodes, std::string object, std::set<NodeId> bookmarks) {
  const Tree& tree = engine_->tree();
  // A disk takes its own along.
  std::set<DiskId> disks;
  for (const NodeId id : nodes) {
    const TreeNode* node = tree.node(id);
    if (node != nullptr && node->value.state == NodeState::kHead) disks.insert(node->value.disk);
  }
  for (const auto& [id, value] : tree.bookmarks()) {
    if (disks.contains(value.disk)) bookmarks.insert(id);
  }
  const auto plan = [&] {
    Tree::Edits edits;
    for (const NodeId id : nodes) {
      const TreeNode* node = tree.node(id);
      if (node == nullptr || node->value.state == NodeState::kDead) continue;
      const bool head = node->value.state == NodeState::kHead;
      const Tree::Edits some = head ? tree.plan_remove_disk(node->value.disk) : tree.plan_kill_node(id);
      edits.insert(edits.end(), some.begin(), some.end());
    }
    const Tree::Edits dropped = tree.plan_drop_bookmarks(bookmarks);
    edits.insert(edits.end(), dropped.begin(), dropped.end());
    return edits;
  };
  auto done = co_await change(plan, object);
  for (const NodeId id : nodes) {
    const TreeNode* node = tree.node(id);
    if (node != nullptr && tree.disk(node->value.disk) == nullptr)
      engine_->parts().charges.end(node->value.disk);
  }
  co_return done;
}

}  // namespace coppice
