// Catalog: what the mounted tree holds, by path and by number.
//
// Made from one answer of Store::tree(), and pure: whoever has it decides when it is old. Names and numbers
// of what is not there any more are answered with nothing.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "coppice/store.h"
#include "fuse/inode.h"

namespace coppice::fuse {

struct DirectoryEntry {
  std::string name;
  Inode inode;
};

class Catalog {
 public:
  Catalog() = default;
  Catalog(Catalog&&) = default;
  Catalog& operator=(Catalog&&) = default;
  Catalog(const Catalog&) = delete;  // its indexes point into its nodes
  Catalog& operator=(const Catalog&) = delete;
  // `names` outlives it.
  Catalog(std::vector<NodeInfo> nodes, NameTable& names);

  [[nodiscard]] std::optional<Inode> lookup(const Inode& directory, const std::string& name) const;
  // Nothing if the directory is not there. Without "." and "..".
  [[nodiscard]] std::optional<std::vector<DirectoryEntry>> list(const Inode& directory) const;
  // The disk's head or the snapshot that a file or link stands for; null if it isn't there any more.
  [[nodiscard]] const NodeInfo* node(std::uint64_t id) const;
  [[nodiscard]] bool has(const Inode& inode) const;
  [[nodiscard]] std::optional<std::string> link_target(const Inode& link) const;
  // Of a directory: how many are in it, and when the last of these was made.
  struct Summary {
    std::uint64_t directories = 0;
    std::int64_t newest_unix_ms = 0;
  };
  [[nodiscard]] Summary summary(const Inode& directory) const;
  [[nodiscard]] std::uint64_t files() const { return by_id_.size(); }

 private:
  struct Disk {
    const NodeInfo* head = nullptr;
    std::map<std::string, const NodeInfo*> snapshots;
    std::int64_t newest_unix_ms = 0;
  };
  [[nodiscard]] const Disk* disk_of(const Inode& directory) const;
  [[nodiscard]] std::optional<Inode> lookup_top(const std::string& name) const;
  [[nodiscard]] std::vector<DirectoryEntry> list_disks(Inode::Kind kind) const;

  std::vector<NodeInfo> nodes_;
  NameTable* names_ = nullptr;
  std::map<std::string, Disk> disks_;
  std::int64_t newest_unix_ms_ = 0;  // asked for with each path that goes through a directory
  std::unordered_map<std::uint64_t, const NodeInfo*> by_id_;
};

Spec spec_of(const NodeInfo& node);

}  // namespace coppice::fuse
