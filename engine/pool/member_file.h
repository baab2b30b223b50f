// A member's file, as the file system has it: found, opened without the page cache where that can be had, and
// kept from being copied on write underneath.
// Threads: the store's scheduler; these calls block, at create and open only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "coppice/result.h"
#include "pool/pool.h"

namespace coppice {

enum class PathKind : std::uint8_t { kAbsent, kRegularFile, kBlockDevice, kOther };
PathKind kind_of_path(const std::string& path);

// What is free on the file system that a new file at `path` would stand on; nothing where that can't be told.
struct FileSystemRoom {
  std::uint64_t device = 0;  // tells file systems apart
  std::uint64_t free_bytes = 0;
};
std::optional<FileSystemRoom> room_for(const std::string& path);

// Opens files with O_DIRECT, and where that is not to be had without it, telling once what is lost.
class MemberOpener {
 public:
  MemberOpener(const OpenFile& open_file, const Notice& notice, bool read_only = false)
      : open_file_(open_file), notice_(notice), read_only_(read_only) {}
  Result<std::unique_ptr<BlockFile>> open(const std::string& path, bool create);

 private:
  const OpenFile& open_file_;
  const Notice& notice_;
  bool read_only_;
  bool warned_ = false;
};

// On btrfs: marks a new, still empty file NOCOW, or tells what is lost. Nothing elsewhere.
void avoid_copy_on_write(const std::string& path, const Notice& notice);

// Makes the name of a new file durable.
void sync_folder_of(const std::string& path);

}  // namespace coppice
