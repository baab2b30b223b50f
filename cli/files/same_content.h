// Whether two files, one file of two snapshots of a volume, hold the same: read only where their blocks may
// differ.
#pragma once

#include <string>

#include "cli/files/changed_ranges.h"
#include "coppice/result.h"

namespace coppice::cli {

// How a file system tells where a file's blocks are, and when it was written.
struct Telling {
  bool extents = false;      // FIEMAP gives places of the volume
  bool change_time = false;  // a file that was written has another ctime
};
Telling telling_of(const std::string& file_system, bool by_loop);

// Both are open, and of one size.
Outcome<bool> same_content(int one, int other, const Telling& telling, const ChangedRanges& changed);

}  // namespace coppice::cli
