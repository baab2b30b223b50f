#include "fuse/mount_point.h"

#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "fuse/mount_table.h"

namespace coppice::fuse {

namespace {

constexpr const char* kHelper = "fusermount3";
constexpr const char* kDevice = "/dev/fuse";
constexpr const char* kConfiguration = "/etc/fuse.conf";

std::vector<MountEntry> mounts() {
  std::vector<MountEntry> all;
  std::ifstream table("/proc/self/mountinfo");
  for (std::string line; std::getline(table, line);) {
    if (auto entry = parse_mount(line)) all.push_back(std::move(*entry));
  }
  return all;
}

// Not stat(2): the kernel answers that by itself for as long as it may remember the attributes.
bool is_dead(const std::string& directory) {
  struct statvfs figures{};
  return statvfs(directory.c_str(), &figures) != 0 && (errno == ENOTCONN || errno == ECONNABORTED);
}

bool in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "/usr/bin:/bin" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (access((std::filesystem::path(folder) / program).c_str(), X_OK) == 0) return true;
  }
  return access(("/usr/bin/" + program).c_str(), X_OK) == 0;
}

bool others_may_be_let_in() {
  std::ifstream configuration(kConfiguration);
  for (std::string line; std::getline(configuration, line);) {
    std::istringstream words(line);
    std::string word;
    if (words >> word && word == "user_allow_other") return true;
  }
  return false;
}

// What it said, if it ended with an error.
Outcome<> run_helper(const std::string& directory, bool at_once) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0)
    return refuse(ErrorKind::kIo, std::string("pipe: ") + std::strerror(errno));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
  std::string words[] = {kHelper, "-u", "-z", "--", directory};
  std::vector<char*> arguments{words[0].data(), words[1].data()};
  if (at_once) arguments.push_back(words[2].data());
  arguments.insert(arguments.end(), {words[3].data(), words[4].data(), nullptr});
  pid_t child = 0;
  const int error = posix_spawnp(&child, kHelper, &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  std::string said;
  std::array<char, 512> piece{};
  for (ssize_t got = 0; error == 0 && (got = read(ends[0], piece.data(), piece.size())) > 0;)
    said.append(piece.data(), static_cast<std::size_t>(got));
  close(ends[0]);
  if (error != 0) return refuse(ErrorKind::kIo, std::string(kHelper) + ": " + std::strerror(error));
  int status = 0;
  waitpid(child, &status, 0);
  if (status == 0) return {};
  while (!said.empty() && said.back() == '\n') said.pop_back();
  const bool busy = said.find("busy") != std::string::npos;
  return refuse(busy ? ErrorKind::kBusy : ErrorKind::kIo, said);
}

Outcome<> require_means(bool allow_other) {
  if (access(kDevice, F_OK) != 0)
    return refuse(ErrorKind::kUnsupported, std::string(kDevice) +
                                               " is not there: load the kernel's module with "
                                               "'modprobe fuse', or give the container the device");
  if (geteuid() == 0) return {};
  if (access(kDevice, R_OK | W_OK) != 0)
    return refuse(ErrorKind::kUnsupported,
                  std::string(kDevice) +
                      " may not be opened by this user: as root, run 'chmod 666 /dev/fuse', as " +
                      "udev does where it runs");
  if (!in_path(kHelper))
    return refuse(
        ErrorKind::kUnsupported,
        std::string(kHelper) + " is not installed, which mounts for users other than root: install fuse3");
  if (allow_other && !others_may_be_let_in())
    return refuse(
        ErrorKind::kInvalid,
        std::string("--allow-other: only root may, or who finds user_allow_other in ") + kConfiguration);
  return {};
}

Outcome<> require_empty_directory(const std::string& directory) {
  struct stat status{};
  if (stat(directory.c_str(), &status) != 0) {
    const bool absent = errno == ENOENT;
    return refuse(absent ? ErrorKind::kNotFound : ErrorKind::kIo,
                  directory + ": " + (absent ? "no such directory: make it first" : std::strerror(errno)));
  }
  if (!S_ISDIR(status.st_mode)) return refuse(ErrorKind::kInvalid, directory + " is not a directory");
  std::error_code error;
  const std::filesystem::directory_iterator first(directory, error);
  if (error) return refuse(ErrorKind::kIo, directory + ": " + error.message());
  if (first != std::filesystem::directory_iterator())
    return refuse(ErrorKind::kInvalid, directory + " is not empty: mount on an empty directory");
  return {};
}

}  // namespace

Outcome<std::string> true_path(const std::string& directory) {
  std::array<char, PATH_MAX> real{};
  if (realpath(directory.c_str(), real.data()) != nullptr) return std::string(real.data());
  const std::filesystem::path path(directory);
  const std::string folder = path.parent_path().empty() ? "." : path.parent_path().string();
  const int error = errno;
  if (error != ENOENT && realpath(folder.c_str(), real.data()) != nullptr)
    return (std::filesystem::path(real.data()) / path.filename()).string();
  return refuse(error == ENOENT ? ErrorKind::kNotFound : ErrorKind::kIo,
                directory + ": " + (error == ENOENT ? "no such directory" : std::strerror(error)));
}

bool is_mounted_by_coppice(const std::string& directory) {
  const auto mount = mount_on(mounts(), directory);
  return mount && is_coppice(*mount);
}

Outcome<> detach(const std::string& directory, Detach how) {
  const bool at_once = how == Detach::kAtOnce;
  Outcome<> outcome;
  if (geteuid() == 0) {
    const int flags = UMOUNT_NOFOLLOW | (at_once ? MNT_DETACH : 0);
    if (umount2(directory.c_str(), flags) != 0)
      outcome = refuse(errno == EBUSY ? ErrorKind::kBusy : ErrorKind::kIo, std::strerror(errno));
  } else {
    outcome = run_helper(directory, at_once);
  }
  if (outcome) return outcome;
  if (outcome.error().kind == ErrorKind::kBusy)
    return refuse(ErrorKind::kBusy, directory + " is in use: end what uses it ('fuser -vm " + directory +
                                        "' lists that), or give --lazy");
  return refuse(outcome.error().kind, "unmounting " + directory + ": " + outcome.error().message);
}

Outcome<bool> clear_dead_mount(const std::string& directory) {
  bool cleared = false;
  while (is_dead(directory)) {
    if (!is_mounted_by_coppice(directory))
      return refuse(ErrorKind::kBusy,
                    directory + " holds a dead mount that is not coppice's: umount it first");
    auto detached = detach(directory, Detach::kAtOnce);
    if (!detached) return std::unexpected(detached.error());
    cleared = true;
  }
  return cleared;
}

Outcome<std::string> prepare_mount_point(const std::string& directory, bool allow_other) {
  if (directory.find('\n') != std::string::npos)
    return refuse(ErrorKind::kInvalid, "a directory with a line break in its name can't be mounted on");
  auto means = require_means(allow_other);
  if (!means) return std::unexpected(means.error());
  auto path = true_path(directory);
  if (!path) return path;
  auto cleared = clear_dead_mount(*path);
  if (!cleared) return std::unexpected(cleared.error());
  if (is_mounted_by_coppice(*path))
    return refuse(ErrorKind::kBusy,
                  *path + " is a mount of coppice already: 'coppice unmount " + *path + "' ends it");
  auto empty = require_empty_directory(*path);
  if (!empty) return std::unexpected(empty.error());
  return path;
}

}  // namespace coppice::fuse
