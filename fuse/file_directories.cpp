// Directories and links.
#include <algorithm>
#include <cerrno>
#include <iterator>

#include "fuse/file_system.h"

namespace coppice::fuse {

Task<void> FileSystem::read_link(Reply reply, std::uint64_t number) {
  const auto fresh = co_await refresh();
  const auto inode = inode_of(number);
  const auto target =
      fresh && inode && inode->kind == Inode::Kind::kLink ? catalog_.link_target(*inode) : std::nullopt;
  if (target) {
    reply.link(*target);
  } else {
    reply.error(ENOENT);
  }
}

std::vector<DirectoryEntry> FileSystem::entries_of(const Inode& inode) const {
  Inode parent{Inode::Kind::kRoot};
  if (inode.kind == Inode::Kind::kSnapshotsOf) parent = {Inode::Kind::kSnapshots};
  if (inode.kind == Inode::Kind::kByTimeOf) parent = {Inode::Kind::kByTime};
  std::vector<DirectoryEntry> entries{{".", inode}, {"..", parent}};
  auto listed = catalog_.list(inode);
  if (listed) std::ranges::move(*listed, std::back_inserter(entries));
  return entries;
}

Task<void> FileSystem::open_directory(Reply reply, std::uint64_t number) {
  const auto fresh = co_await refresh();
  const auto inode = inode_of(number);
  if (!fresh || !inode || !catalog_.has(*inode)) {
    reply.error(fresh ? ENOENT : EIO);
    co_return;
  }
  auto made = std::make_unique<Directory>();
  Directory* directory = made.get();
  directories_.emplace(directory, std::move(made));
  if (!reply.opened(reinterpret_cast<std::uint64_t>(directory), {})) directories_.erase(directory);
}

// Read from its start, a directory is looked up anew; else it goes on in what it was then.
Task<void> FileSystem::read_directory(Reply reply, std::uint64_t number, std::uint64_t handle,
                                      std::uint64_t first, std::size_t most_bytes) {
  auto& directory = *std::bit_cast<Directory*>(handle);
  if (first == 0) {
    const auto fresh = co_await refresh();
    if (!fresh) {
      reply.error(fresh.error());
      co_return;
    }
    directory.entries = entries_of(*inode_of(number));
  }
  reply.directory(directory.entries, first, most_bytes);
}

void FileSystem::close_directory(Reply reply, std::uint64_t handle) {
  directories_.erase(std::bit_cast<Directory*>(handle));
  reply.done();
}

}  // namespace coppice::fuse
