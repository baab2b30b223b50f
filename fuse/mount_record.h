// MountRecord: a file in the store that names the directories its daemon has mounted, one a line, so that the
// next one can clear away what a dead one left.
//
// Blocking, small. A store that can't be written has none, and nothing is missed but that.
#pragma once

#include <string>
#include <vector>

namespace coppice::fuse {

class MountRecord {
 public:
  // An empty folder: nothing is kept.
  explicit MountRecord(const std::string& store) : path_(store.empty() ? "" : store + "/mounts") {}

  [[nodiscard]] std::vector<std::string> read() const;
  // Without any the file is removed.
  void write(const std::vector<std::string>& directories) const;

 private:
  std::string path_;
};

}  // namespace coppice::fuse
