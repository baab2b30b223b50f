// A mount point: what must hold of a directory before something is mounted on it, and how it is given back.
//
// Blocking: for commands, and for own_thread.h. A mount of a process that died answers everything with
// ENOTCONN until it is detached; one of coppice is, by whoever comes first.
#pragma once

#include <cstdint>
#include <string>

#include "coppice/result.h"

namespace coppice::fuse {

// Its one true name: what is listed as mounted. Of a directory that can't be looked into (a dead mount) the
// folder's it stands in and its own.
Outcome<std::string> true_path(const std::string& directory);

// Clears a dead mount away, and refuses what is no empty directory, or what can't be mounted here at all.
// Answers the true path.
Outcome<std::string> prepare_mount_point(const std::string& directory, bool allow_other);

enum class Detach : std::uint8_t {
  kIfUnused,  // refused while somebody uses it
  kAtOnce,    // the name is free at once; who uses it does so until he is done
};
Outcome<> detach(const std::string& directory, Detach how);

// True if a dead mount of coppice was there, and is not any more.
Outcome<bool> clear_dead_mount(const std::string& directory);

// Of a coppice, dead or alive.
bool is_mounted_by_coppice(const std::string& directory);

}  // namespace coppice::fuse
