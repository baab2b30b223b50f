// What disks and snapshots take of the pool, alone and together.
#include <fmt/format.h>

#include <algorithm>

#include "store/store_impl.h"
#include "tree/fate.h"

namespace coppice {

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
  // Nodes stay while they are counted.
  co_await verbs_.lock();
  co_await trash_lock_.lock();
  VisibleBlocks visible(tree, engine_->map());
  Outcome<> status;
  for (const DiskId id : disks) {
    if (status && tree.disk(id) != nullptr) status = co_await add_space_rows(id, visible, rows);
  }
  trash_lock_.unlock();
  verbs_.unlock();
  if (!status) co_return std::unexpected(status.error());
  co_return rows;
}

Task<Outcome<>> StoreImpl::add_space_rows(DiskId id, VisibleBlocks& visible, std::vector<SpaceInfo>& rows) {
  Tree& tree = engine_->tree();
  const std::string name = tree.disk(id)->value.name;
  const NodeId head = tree.disk(id)->value.head;
  for (const NodeId node_id : tree.nodes_of(id)) {
    SpaceInfo row;
    row.spec = {name, tree.node(node_id)->value.name};
    auto own = co_await exclusive_blocks(tree, engine_->map(), node_id);
    if (!own) co_return refuse(own.error(), row.spec.text());
    auto seen = co_await visible.of(node_id);
    if (!seen) co_return refuse(seen.error(), row.spec.text());
    row.own_bytes = row.frees_bytes = *own * kBlockBytes;
    row.shared_bytes = (*seen - std::min(*seen, *own)) * kBlockBytes;
    if (node_id == head) {
      auto whole = co_await count_set(tree.nodes_of(id), false, "disk " + name);
      if (!whole) co_return std::unexpected(whole.error());
      row.disk = *whole;
      row.disk->quota = quota_of(id);
    }
    rows.push_back(std::move(row));
  }
  co_return Outcome<>{};
}

// What writers do meanwhile may be in one of the two numbers and not in the other.
Task<Outcome<SetSpace>> StoreImpl::count_set(std::vector<NodeId> nodes, bool own_only, std::string object) {
  Tree& tree = engine_->tree();
  auto own = co_await exclusive_blocks(tree, engine_->map(), nodes);
  if (!own) co_return refuse(own.error(), object);
  SetSpace space;
  space.own_bytes = *own * kBlockBytes;
  if (own_only) co_return space;
  auto seen = co_await seen_blocks(tree, engine_->map(), std::move(nodes));
  if (!seen) co_return refuse(seen.error(), object);
  space.shared_bytes = (*seen - std::min(*seen, *own)) * kBlockBytes;
  co_return space;
}

Task<Outcome<SetSpace>> StoreImpl::space_of(std::vector<Spec> specs, bool own_only) {
  co_await verbs_.lock();
  co_await trash_lock_.lock();
  std::vector<NodeId> nodes;
  Outcome<SetSpace> space;
  for (const Spec& spec : specs) {
    auto node = require_node(spec);
    if (!node) space = std::unexpected(node.error());
    if (node) nodes.push_back((*node)->id);
  }
  std::ranges::sort(nodes);
  nodes.erase(std::ranges::unique(nodes).begin(), nodes.end());
  if (space && !nodes.empty()) space = co_await count_set(std::move(nodes), own_only, specs.front().text());
  trash_lock_.unlock();
  verbs_.unlock();
  co_return space;
}

// From the younger end up, so that of a tree it is the one line that leads there.
Task<Outcome<std::vector<Spec>>> StoreImpl::range(Spec first, Spec last) {
  const Tree& tree = engine_->tree();
  auto newest = require_node(last);
  if (!newest) co_return std::unexpected(newest.error());
  const DiskId disk = (*newest)->value.disk;
  NodeId oldest;
  if (first.is_snapshot()) {
    auto found = require_node(first);
    if (!found) co_return std::unexpected(found.error());
    oldest = (*found)->id;
  }
  std::vector<Spec> line;
  const TreeNode* at = *newest;
  for (bool more = true; more && at != nullptr; at = tree.node(at->value.parent)) {
    const bool named = at->value.state == NodeState::kSnapshot && at->value.disk == disk;
    if (named) line.push_back({last.disk, at->value.name});
    more = at->id != oldest;
    if (!more) oldest = {};
  }
  if (oldest.value != 0) {
    co_return refuse(
        ErrorKind::kInvalid,
        fmt::format("{} does not lead to {}: a range goes from an older snapshot to a younger one "
                    "that continues from it ('coppice tree {}' shows what does)",
                    first.text(), last.text(), last.disk));
  }
  if (line.empty()) {
    co_return refuse(ErrorKind::kNotFound,
                     fmt::format("disk {} has no snapshot before it: the range is empty", last.disk));
  }
  std::ranges::reverse(line);
  co_return line;
}

}  // namespace coppice
