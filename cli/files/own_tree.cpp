#include "cli/files/own_tree.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <thread>

#include "cli/background.h"
#include "cli/control_client.h"
#include "cli/daemon.h"
#include "cli/daemon_log.h"
#include "cli/files/new_mount.h"

namespace coppice::cli {
namespace {

constexpr std::uint64_t kCacheBytes = std::uint64_t{64} << 20;
constexpr mode_t kMode = 0600;
constexpr mode_t kFolderMode = 0700;
constexpr const char* kDevice = "/dev/fuse";

std::string in_tree(const Spec& snapshot) {
  return "snapshots/" + snapshot.disk + "/" + snapshot.snapshot;
}

std::unexpected<Failure> system_failure(const std::string& what) {
  return refuse(ErrorKind::kIo, what + ": " + std::strerror(errno));
}

// Who is not root becomes it where that means nothing: in namespaces of his own, in which he may mount.
Outcome<> enter_own_namespaces() {
  if (geteuid() == 0) return {};
  const uid_t uid = geteuid();
  const gid_t gid = getegid();
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
    return refuse(ErrorKind::kUnsupported,
                  std::string("this user may not make namespaces (") + std::strerror(errno) +
                      "): run it as root, or allow it with 'sysctl kernel.unprivileged_userns_clone=1'");
  std::ofstream("/proc/self/setgroups") << "deny";
  std::ofstream("/proc/self/uid_map") << "0 " << uid << " 1\n";
  std::ofstream("/proc/self/gid_map") << "0 " << gid << " 1\n";
  return {};
}

struct Ends {
  UniqueFd kernel;  // where requests are read
  UniqueFd root;    // of the tree
};

Outcome<Ends> mount_nowhere() {
  UniqueFd kernel(open(kDevice, O_RDWR | O_CLOEXEC));
  if (!kernel.valid())
    return refuse(ErrorKind::kUnsupported,
                  std::string(kDevice) + ": " + std::strerror(errno) +
                      ": load the kernel's module with 'modprobe fuse', or give the container the device");
  auto made = NewMount::begin("fuse");
  if (!made) return std::unexpected(made.error());
  made->set("source", "coppice")
      .set("subtype", "coppice")
      .set("fd", std::to_string(kernel.get()))
      .set("rootmode", "40000")
      .set("user_id", std::to_string(geteuid()))
      .set("group_id", std::to_string(getegid()));
  auto root = made->finish(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  if (!root) return std::unexpected(root.error());
  return Ends{std::move(kernel), std::move(*root)};
}

// A process that serves nothing else, and ends when the tree is gone.
Outcome<> serve_in_background(const std::string& store, OpenMode mode, Ends& ends) {
  const auto work = [&](const Ready& ready) {
    ends.root.reset();  // else the tree would stay for the sake of who serves it
    log_to_stderr();
    set_log(LogOf::kWarnings);
    fuse::MountOptions mount;
    mount.look = own_tree_look(geteuid(), getegid());
    mount.made_by_other = ends.kernel.get();
    mount.other_process = getppid();
    return run_daemon(DaemonOptions{.store = store,
                                    .nbd = {},
                                    .cache_bytes = kCacheBytes,
                                    .mode = mode,
                                    .mount = mount,
                                    .mounted = ready});
  };
  auto begun = run_in_background(store + "/mount.log", work);
  if (!begun) return std::unexpected(begun.error());
  return {};
}

}  // namespace

fuse::Look own_tree_look(uid_t uid, gid_t gid) {
  return {.uid = uid, .gid = gid, .mode = kMode, .shared = false, .scratch = true};
}

Outcome<OwnTree> OwnTree::make(const std::string& store, OpenMode mode) {
  auto client = ControlClient::connect(store);
  if (!client) return std::unexpected(client.error());
  auto inside = enter_own_namespaces();
  if (!inside) return std::unexpected(inside.error());
  auto ends = mount_nowhere();
  if (!ends) return std::unexpected(ends.error());
  if (*client) {
    const Json params{{"uid", geteuid()}, {"gid", getegid()}, {"process", getpid()}};
    auto served =
        (*client)->call(Request{.method = "serve-tree", .params = params, .file = ends->kernel.get()});
    if (!served) return std::unexpected(served.error());
    return OwnTree(std::move(ends->root), 0);
  }
  auto served = serve_in_background(store, mode, *ends);
  if (!served) return std::unexpected(served.error());
  auto own = ControlClient::connect(store);
  const bool known = own && *own;
  return OwnTree(std::move(ends->root), known ? static_cast<pid_t>((*own)->daemon_pid()) : 0);
}

OwnTree::~OwnTree() {
  if (!path_.empty()) umount2(path_.c_str(), MNT_DETACH);
  root_.reset();
  if (daemon_ > 0) waitpid(daemon_, nullptr, 0);
}

Outcome<UniqueFd> OwnTree::open(const Spec& snapshot) const {
  UniqueFd image(openat(root_.get(), in_tree(snapshot).c_str(), O_RDWR | O_CLOEXEC));
  if (image.valid()) return image;
  if (errno == ENOENT)
    return refuse(ErrorKind::kNotFound, snapshot.text() + " is not there: 'coppice ls' lists what is");
  return system_failure("opening " + snapshot.text());
}

Outcome<> OwnTree::show_at(const std::string& hidden) {
  if (!path_.empty()) return {};
  const std::string path = hidden + "/tree";
  const bool good =
      unshare(CLONE_NEWNS) == 0 && mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
      mount("none", hidden.c_str(), "tmpfs", 0, nullptr) == 0 && mkdir(path.c_str(), kFolderMode) == 0 &&
      move_mount(root_.get(), "", AT_FDCWD, path.c_str(), MOVE_MOUNT_F_EMPTY_PATH) == 0;
  if (!good) return system_failure("making a place to mount on");
  path_ = path;
  return {};
}

std::string OwnTree::path_of(const Spec& snapshot) const {
  return path_ + "/" + in_tree(snapshot);
}

}  // namespace coppice::cli
