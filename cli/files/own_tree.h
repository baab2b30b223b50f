// OwnTree: the mounted tree of a store for one command, which nobody else sees.
//
// The mount hangs on a descriptor, in no folder and no namespace; it is gone with the command, also with one
// that is killed. Snapshots in it may be written, which is forgotten (fuse/scratch_device.h). The daemon of
// the store serves it; where there is none, one is there for as long as the tree. Main thread, before any
// other is made.
#pragma once

#include <sys/types.h>

#include <string>

#include "cli/unique_fd.h"
#include "coppice/store.h"
#include "fuse/file_system.h"

namespace coppice::cli {

// How its files look to whom they are for.
fuse::Look own_tree_look(uid_t uid, gid_t gid);

class OwnTree {
 public:
  static Outcome<OwnTree> make(const std::string& store, OpenMode mode);
  OwnTree(OwnTree&& other) noexcept
      : root_(std::move(other.root_)),
        daemon_(std::exchange(other.daemon_, 0)),
        path_(std::exchange(other.path_, {})) {}
  OwnTree& operator=(OwnTree&&) = delete;
  // Waits until a daemon of its own has given the store back. Nothing of the tree may be open.
  ~OwnTree();

  // To be read and written.
  [[nodiscard]] Outcome<UniqueFd> open(const Spec& snapshot) const;
  // Gives the tree a path in a folder `hidden` (absolute) that this process needs no more, for programs that
  // take no descriptor: mounted over it, where only this process and those that it starts from now on see it.
  // Other mounts may be made beside it, below `hidden`.
  Outcome<> show_at(const std::string& hidden);
  // Behind show_at().
  [[nodiscard]] std::string path_of(const Spec& snapshot) const;

 private:
  OwnTree(UniqueFd root, pid_t daemon) : root_(std::move(root)), daemon_(daemon) {}

  UniqueFd root_;
  pid_t daemon_;      // 0: another's
  std::string path_;  // empty: it has none
};

}  // namespace coppice::cli
