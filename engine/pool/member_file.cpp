#include "pool/member_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <filesystem>

namespace coppice {

namespace {

// What an open(O_CREAT | O_DIRECT) leaves behind where O_DIRECT then turns out not to be had.
void remove_if_empty(const std::string& path) {
  struct stat status{};
  if (stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) && status.st_size == 0)
    unlink(path.c_str());
}

bool set_nocow(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  int flags = 0;
  bool set = ioctl(descriptor, FS_IOC_GETFLAGS, &flags) == 0;
  flags |= FS_NOCOW_FL;
  set = set && ioctl(descriptor, FS_IOC_SETFLAGS, &flags) == 0;
  close(descriptor);
  return set;
}

}  // namespace

PathKind kind_of_path(const std::string& path) {
  struct stat status{};
  if (stat(path.c_str(), &status) != 0) return PathKind::kAbsent;
  if (S_ISREG(status.st_mode)) return PathKind::kRegularFile;
  return S_ISBLK(status.st_mode) ? PathKind::kBlockDevice : PathKind::kOther;
}

std::optional<FileSystemRoom> room_for(const std::string& path) {
  const auto folder = std::filesystem::absolute(path).parent_path();
  struct stat status{};
  struct statvfs system{};
  if (stat(folder.c_str(), &status) != 0 || statvfs(folder.c_str(), &system) != 0) return std::nullopt;
  return FileSystemRoom{status.st_dev, std::uint64_t{system.f_bavail} * system.f_frsize};
}

Result<std::unique_ptr<BlockFile>> MemberOpener::open(const std::string& path, bool create) {
  auto file = open_file_(path, {.create = create, .read_only = read_only_, .direct = true});
  if (file || file.error().kind != ErrorKind::kUnsupported) return file;
  if (create) remove_if_empty(path);
  file = open_file_(path, {.create = create, .read_only = read_only_, .direct = false});
  if (file && !warned_ && notice_) {
    notice_("warning: " + path +
            ": O_DIRECT is not to be had here, so data passes through the page cache: slower, twice in "
            "memory, and "
            "failed writes are reported late; a file on ext4 or xfs, or a block device, avoids this");
    warned_ = true;
  }
  return file;
}

void avoid_copy_on_write(const std::string& path, const Notice& notice) {
  struct statfs system{};
  if (statfs(path.c_str(), &system) != 0 || system.f_type != BTRFS_SUPER_MAGIC) return;
  if (set_nocow(path) || !notice) return;
  notice("warning: " + path +
         ": on btrfs, and copy-on-write could not be turned off for it: every overwrite moves data, so it "
         "fragments "
         "and slows down; put the pool on ext4, xfs or a block device");
}

void sync_folder_of(const std::string& path) {
  auto folder = std::filesystem::path(path).parent_path();
  if (folder.empty()) folder = ".";
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  fsync(descriptor);
  close(descriptor);
}

}  // namespace coppice
