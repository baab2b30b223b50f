#include "fuse/catalog.h"

#include <algorithm>
#include <ranges>

#include "fuse/time_name.h"

namespace coppice::fuse {

namespace {

using Kind = Inode::Kind;

const std::vector<DirectoryEntry>& top() {
  static const std::vector<DirectoryEntry> entries{
      {"disks", {Kind::kDisks}}, {"snapshots", {Kind::kSnapshots}}, {"by-time", {Kind::kByTime}}};
  return entries;
}

}  // namespace

Spec spec_of(const NodeInfo& node) {
  return {node.disk, node.snapshot};
}

Catalog::Catalog(std::vector<NodeInfo> nodes, NameTable& names) : nodes_(std::move(nodes)), names_(&names) {
  for (const NodeInfo& node : nodes_) {
    // What has no data is no file.
    const bool data = node.kind == NodeInfo::Kind::kHead || node.kind == NodeInfo::Kind::kSnapshot;
    if (!data || node.disk.empty()) continue;
    Disk& disk = disks_[node.disk];
    if (node.kind == NodeInfo::Kind::kHead) {
      disk.head = &node;
    } else {
      disk.snapshots.emplace(node.snapshot, &node);
    }
    disk.newest_unix_ms = std::max(disk.newest_unix_ms, node.created_unix_ms);
    newest_unix_ms_ = std::max(newest_unix_ms_, node.created_unix_ms);
    by_id_.emplace(node.id, &node);
  }
}

const Catalog::Disk* Catalog::disk_of(const Inode& directory) const {
  if (directory.kind != Kind::kSnapshotsOf && directory.kind != Kind::kByTimeOf) return nullptr;
  const auto found = disks_.find(names_->name_of(directory.id));
  return found == disks_.end() ? nullptr : &found->second;
}

std::optional<Inode> Catalog::lookup_top(const std::string& name) const {
  const auto found = std::ranges::find(top(), name, &DirectoryEntry::name);
  if (found == top().end()) return std::nullopt;
  return found->inode;
}

std::optional<Inode> Catalog::lookup(const Inode& directory, const std::string& name) const {
  if (directory.kind == Kind::kRoot) return lookup_top(name);
  if (const Disk* disk = disk_of(directory); disk != nullptr) {
    const bool by_time = directory.kind == Kind::kByTimeOf;
    const auto found = disk->snapshots.find(by_time ? std::string(snapshot_of_time_name(name)) : name);
    if (found == disk->snapshots.end()) return std::nullopt;
    const NodeInfo& node = *found->second;
    if (by_time && time_name(node.created_unix_ms, node.snapshot) != name) return std::nullopt;
    return Inode{by_time ? Kind::kLink : Kind::kFile, node.id};
  }
  const auto found = disks_.find(name);
  if (found == disks_.end()) return std::nullopt;
  switch (directory.kind) {
    case Kind::kDisks:
      if (found->second.head == nullptr) return std::nullopt;
      return Inode{Kind::kFile, found->second.head->id};
    case Kind::kSnapshots:
      return Inode{Kind::kSnapshotsOf, names_->id_of(name)};
    case Kind::kByTime:
      return Inode{Kind::kByTimeOf, names_->id_of(name)};
    default:
      return std::nullopt;
  }
}

std::vector<DirectoryEntry> Catalog::list_disks(Kind kind) const {
  std::vector<DirectoryEntry> entries;
  for (const auto& [name, disk] : disks_) {
    if (kind != Kind::kDisks) {
      entries.push_back(
          {name, {kind == Kind::kSnapshots ? Kind::kSnapshotsOf : Kind::kByTimeOf, names_->id_of(name)}});
    } else if (disk.head != nullptr) {
      entries.push_back({name, {Kind::kFile, disk.head->id}});
    }
  }
  return entries;
}

std::optional<std::vector<DirectoryEntry>> Catalog::list(const Inode& directory) const {
  if (directory.kind == Kind::kRoot) return top();
  if (!directory.is_directory()) return std::nullopt;
  if (directory.kind != Kind::kSnapshotsOf && directory.kind != Kind::kByTimeOf)
    return list_disks(directory.kind);
  const Disk* disk = disk_of(directory);
  if (disk == nullptr) return std::nullopt;
  std::vector<DirectoryEntry> entries;
  for (const NodeInfo* node : disk->snapshots | std::views::values) {
    if (directory.kind == Kind::kSnapshotsOf) {
      entries.push_back({node->snapshot, {Kind::kFile, node->id}});
    } else {
      entries.push_back({time_name(node->created_unix_ms, node->snapshot), {Kind::kLink, node->id}});
    }
  }
  return entries;
}

const NodeInfo* Catalog::node(std::uint64_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

bool Catalog::has(const Inode& inode) const {
  switch (inode.kind) {
    case Kind::kFile:
      return node(inode.id) != nullptr;
    case Kind::kLink:
      return link_target(inode).has_value();
    case Kind::kSnapshotsOf:
    case Kind::kByTimeOf:
      return disk_of(inode) != nullptr;
    default:
      return true;
  }
}

std::optional<std::string> Catalog::link_target(const Inode& link) const {
  const NodeInfo* target = node(link.id);
  if (target == nullptr || target->kind != NodeInfo::Kind::kSnapshot) return std::nullopt;
  return "../../snapshots/" + target->disk + "/" + target->snapshot;
}

Catalog::Summary Catalog::summary(const Inode& directory) const {
  if (directory.kind == Kind::kRoot) return {top().size(), newest_unix_ms_};
  if (const Disk* disk = disk_of(directory); disk != nullptr) return {0, disk->newest_unix_ms};
  return {directory.kind == Kind::kDisks ? 0 : disks_.size(), newest_unix_ms_};
}

}  // namespace coppice::fuse
