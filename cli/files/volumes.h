// Volumes: the partitions of a disk and what is on them, as libblkid tells it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "coppice/result.h"

namespace coppice::cli {

struct Volume {
  unsigned partition = 0;  // 0: the whole disk, which has no partitions
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  std::string type = {};  // "ext4", "LVM2_member", "swap"; empty: nothing that is known
  std::string label = {};
  std::string uuid = {};
  bool file_system = false;
};

Outcome<std::vector<Volume>> find_volumes(int image);

// The one that is asked for by its number, else the largest that holds a file system. `disk` is what messages
// call it.
Outcome<Volume> choose_volume(const std::vector<Volume>& volumes, const std::string& number,
                              const std::string& disk);

}  // namespace coppice::cli
