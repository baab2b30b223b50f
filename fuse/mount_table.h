// What is mounted, as /proc/self/mountinfo tells it.
//
// Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace coppice::fuse {

struct MountEntry {
  std::string directory;
  std::string type;
  std::string source;
};

// Nothing if the line is not one of mountinfo.
std::optional<MountEntry> parse_mount(const std::string& line);
// The topmost on that directory.
std::optional<MountEntry> mount_on(const std::vector<MountEntry>& mounts, const std::string& directory);
// Of a coppice, whichever.
bool is_coppice(const MountEntry& mount);

}  // namespace coppice::fuse
