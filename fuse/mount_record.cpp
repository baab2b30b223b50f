#include "fuse/mount_record.h"

#include <cstdio>
#include <fstream>

namespace coppice::fuse {

std::vector<std::string> MountRecord::read() const {
  std::vector<std::string> directories;
  if (path_.empty()) return directories;
  std::ifstream file(path_);
  for (std::string line; std::getline(file, line);) {
    if (!line.empty()) directories.push_back(line);
  }
  return directories;
}

// Whole or not at all: a crash in between leaves the old one.
void MountRecord::write(const std::vector<std::string>& directories) const {
  if (path_.empty()) return;
  if (directories.empty()) {
    std::remove(path_.c_str());
    return;
  }
  const std::string next = path_ + ".new";
  {
    std::ofstream file(next, std::ios::trunc);
    for (const std::string& directory : directories) file << directory << "\n";
    if (!file.flush()) return;
  }
  std::rename(next.c_str(), path_.c_str());
}

}  // namespace coppice::fuse
