// Inode: which thing of the mounted tree a number stands for.
//
//   /                       1
//   /disks                  2
//   /snapshots              3        /snapshots/DISK         a directory, by the disk's name
//   /by-time                4        /by-time/DISK           the same
//   a disk or a snapshot    a file, by its node's id, which no other node ever has
//   /by-time/DISK/TIME-NAME a link, by the node's id
//
// Pure. A number means the same for as long as the mount lasts, whatever is renamed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace coppice::fuse {

struct Inode {
  enum class Kind : std::uint8_t {
    kRoot,
    kDisks,
    kSnapshots,
    kByTime,
    kSnapshotsOf,
    kByTimeOf,
    kFile,
    kLink
  };
  Kind kind = Kind::kRoot;
  std::uint64_t id = 0;  // of kFile and kLink the node's, of kSnapshotsOf and kByTimeOf the name's
  bool operator==(const Inode&) const = default;
  [[nodiscard]] bool is_directory() const { return kind != Kind::kFile && kind != Kind::kLink; }
};

std::uint64_t number_of(const Inode& inode);
std::optional<Inode> inode_of(std::uint64_t number);

// Names that have had a directory, each with an id from 0 on. They are never forgotten: as many as there ever
// were disks.
class NameTable {
 public:
  std::uint64_t id_of(const std::string& name);
  // Empty if there is none.
  [[nodiscard]] std::string name_of(std::uint64_t id) const;

 private:
  std::map<std::string, std::uint64_t> ids_;
  std::vector<std::string> names_;
};

}  // namespace coppice::fuse
