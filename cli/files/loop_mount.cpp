#include "cli/files/loop_mount.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include <cerrno>
#include <cstring>

#include "cli/files/new_mount.h"

namespace coppice::cli {
namespace {

constexpr const char* kControl = "/dev/loop-control";
// Others take devices too: one that was free may not be any more.
constexpr int kTries = 100;

struct Loop {
  UniqueFd device;
  std::string path;
};

Outcome<Loop> attach(int image, const Volume& volume) {
  const UniqueFd control(open(kControl, O_RDWR | O_CLOEXEC));
  if (!control.valid())
    return refuse(ErrorKind::kUnsupported, std::string(kControl) + ": " + std::strerror(errno) +
                                               ": load the kernel's module with 'modprobe loop'");
  loop_config config{};
  config.fd = static_cast<std::uint32_t>(image);
  config.info.lo_offset = volume.offset_bytes;
  config.info.lo_sizelimit = volume.length_bytes;
  config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
  for (int tried = 0; tried < kTries; ++tried) {
    const int number = ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) break;
    std::string path = "/dev/loop" + std::to_string(number);
    UniqueFd device(open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!device.valid()) break;
    if (ioctl(device.get(), LOOP_CONFIGURE, &config) == 0) return Loop{std::move(device), std::move(path)};
    if (errno != EBUSY) break;
  }
  return refuse(ErrorKind::kIo, std::string("taking a loop device: ") + std::strerror(errno));
}

// As the kernel calls them.
std::string driver_of(const std::string& type) {
  return type == "ntfs" ? "ntfs3" : type;
}

}  // namespace

// What is written to play back a journal goes to memory, and is gone with the image's descriptor.
Outcome<UniqueFd> mount_by_loop(int image, const Volume& volume) {
  auto mount = NewMount::begin(driver_of(volume.type));
  if (!mount) return std::unexpected(mount.error());
  auto loop = attach(image, volume);
  if (!loop) return std::unexpected(loop.error());
  mount->set("source", loop->path).set("ro");
  // Two snapshots of one disk have the same.
  if (volume.type == "xfs") mount->set("nouuid");
  return mount->finish(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
                       MOUNT_ATTR_NOATIME);
}

}  // namespace coppice::cli
