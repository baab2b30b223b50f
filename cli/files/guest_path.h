// Paths inside a guest's file system: resolved as the guest would, with its root as the root, so that no link
// leads out of it.
#pragma once

#include <sys/stat.h>

#include <string>

#include "cli/unique_fd.h"
#include "coppice/result.h"
#include "coppice/store.h"

namespace coppice::cli {

// DISK@SNAP[:/PATH]. Names of disks and snapshots may have colons, but no slashes.
struct GuestPlace {
  Spec snapshot;
  std::string path;  // empty: none is given
};
Outcome<GuestPlace> parse_place(const std::string& text);

enum class LastLink : unsigned char { kFollowed, kTakenItself };
// `flags` as of open(2); O_CLOEXEC is added.
Outcome<UniqueFd> open_inside(int root, const std::string& path, int flags, LastLink last);

struct Entry {
  std::string folder;  // that it is in
  std::string name;    // "." of the root
};
Entry split_path(const std::string& path);

Outcome<struct stat> status_of(int descriptor, const std::string& path);

// Control characters, backslashes and what is no UTF-8 as \ooo, so that each name is one word of one line.
std::string shown(const std::string& name);

}  // namespace coppice::cli
