#include "cli/files/guest_mount.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "cli/files/child.h"
#include "cli/interrupt.h"

namespace coppice::cli {
namespace {

constexpr std::chrono::milliseconds kLookInterval{50};

Outcome<> need(const std::string& program, const char* package) {
  if (is_installed(program)) return {};
  return refuse(
      ErrorKind::kUnsupported,
      program + " is not installed: 'apt install " + package +
          " linux-image-amd64' (this file system is read by libguestfs, which boots a small machine)");
}

dev_t device_under(const std::string& path) {
  struct stat status{};
  return stat(path.c_str(), &status) == 0 ? status.st_dev : 0;
}

}  // namespace

std::string guest_device_of(const Volume& volume) {
  return volume.partition == 0 ? "/dev/sda" : "/dev/sda" + std::to_string(volume.partition);
}

Outcome<> list_by_guest(const std::string& image) {
  auto there = need("guestfish", "guestfish");
  if (!there) return there;
  setenv("LIBGUESTFS_BACKEND", "direct", 0);
  const std::vector<std::string> words{"guestfish", "--ro", "--format=raw",    "-a", image,
                                       "run",       ":",    "list-filesystems"};
  auto child = start_child(words, {});
  if (!child) return std::unexpected(child.error());
  const int code = wait_for_child(*child);
  if (code == 0) return {};
  return refuse(ErrorKind::kIo,
                "guestfish ended with code " + std::to_string(code) + ", what it said is above");
}

Outcome<GuestMount> GuestMount::make(const std::string& image, const std::string& device,
                                     const std::string& place) {
  auto there = need("guestmount", "guestmount");
  if (!there) return std::unexpected(there.error());
  std::string point = place + "/guest-XXXXXX";
  if (mkdtemp(point.data()) == nullptr)
    return refuse(ErrorKind::kIo, std::string("making a place to mount on: ") + std::strerror(errno));
  setenv("LIBGUESTFS_BACKEND", "direct", 0);
  auto child =
      start_child({"guestmount", "--no-fork", "--ro", "--format=raw", "-a", image, "-m", device, point}, {});
  if (!child) return std::unexpected(child.error());
  const dev_t before = device_under(place);
  while (device_under(point) == before) {
    if (waitpid(*child, nullptr, WNOHANG) == *child)
      return refuse(ErrorKind::kIo, "libguestfs could not mount " + device + ", what it said is above");
    if (interrupted()) {
      kill(*child, SIGTERM);
      wait_for_child(*child);
      return refuse(ErrorKind::kBusy, "called off");
    }
    std::this_thread::sleep_for(kLookInterval);
  }
  UniqueFd root(open(point.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (root.valid()) return GuestMount(std::move(root), *child);
  return refuse(ErrorKind::kIo, device + ": " + std::strerror(errno));
}

GuestMount::~GuestMount() {
  root_.reset();
  if (child_ <= 0) return;
  kill(child_, SIGTERM);
  wait_for_child(child_);
}

}  // namespace coppice::cli
