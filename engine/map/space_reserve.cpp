#include "map/space_reserve.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

namespace coppice {

namespace {

constexpr std::uint64_t kLeastBytes = std::uint64_t{32} << 20;
constexpr std::uint64_t kMostBytes = std::uint64_t{256} << 20;
constexpr std::uint64_t kShare = 32;
constexpr std::uint64_t kLeastShare = 8;
// That so much is free may mean nothing: ext4 keeps up to 16 MiB for itself that it counts as free.
constexpr std::uint64_t kSpareBytes = std::uint64_t{8} << 20;

std::string folder_of(const std::string& path) {
  return std::filesystem::path(path).parent_path().string();
}

// What is given back counts when the file system has written that it is free.
void sync_folder(const std::string& path) {
  const int descriptor = open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  fsync(descriptor);
  close(descriptor);
}

struct Room {
  std::uint64_t total_bytes = 0;
  std::uint64_t free_bytes = 0;
};
Room room_at(const std::string& folder) {
  struct statvfs system{};
  if (statvfs(folder.c_str(), &system) != 0) return {};
  return {std::uint64_t{system.f_blocks} * system.f_frsize, std::uint64_t{system.f_bavail} * system.f_frsize};
}

}  // namespace

bool on_small_file_system(const std::string& path) {
  const std::uint64_t total = room_at(folder_of(path)).total_bytes;
  return total != 0 && total < kShare * kMostBytes;
}

SpaceReserve::SpaceReserve(std::string path) : path_(std::move(path)) {
  const std::uint64_t total = room_at(folder_of(path_)).total_bytes;
  size_bytes_ = std::clamp(total / kShare, std::min(kLeastBytes, total / kLeastShare), kMostBytes);
  struct stat status{};
  held_ =
      stat(path_.c_str(), &status) == 0 && static_cast<std::uint64_t>(status.st_blocks) * 512 >= size_bytes_;
}

bool SpaceReserve::held() {
  const std::scoped_lock guard(lock_);
  return held_;
}

bool SpaceReserve::fill() {
  const std::scoped_lock guard(lock_);
  if (held_ || room_at(folder_of(path_)).free_bytes < size_bytes_ + size_bytes_ / 2) return held_;
  const int descriptor = open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) return false;
  held_ = fallocate(descriptor, 0, 0, static_cast<off_t>(size_bytes_)) == 0;
  close(descriptor);
  if (!held_) unlink(path_.c_str());
  return held_;
}

bool SpaceReserve::make_room(std::uint64_t least_bytes) {
  Room room = room_at(folder_of(path_));
  if (room.free_bytes < size_bytes_ / 2 && release()) room = room_at(folder_of(path_));
  return room.total_bytes == 0 || room.free_bytes >= least_bytes + kSpareBytes;
}

bool SpaceReserve::release() {
  const std::scoped_lock guard(lock_);
  held_ = false;
  if (unlink(path_.c_str()) != 0) return false;
  sync_folder(path_);
  return true;
}

}  // namespace coppice
