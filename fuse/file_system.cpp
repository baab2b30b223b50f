#include "fuse/file_system.h"

#include <fcntl.h>

#include <cerrno>

namespace coppice::fuse {

OpenFile& FileSystem::file_of(std::uint64_t node, int process) {
  auto& file = files_[node];
  if (!file) {
    const auto name = [this, node] { return name_of(node); };
    const std::string who = "mount " + directory_ + ", process " + std::to_string(process);
    file =
        std::make_unique<OpenFile>(reactor_, store_, name, Holder{who, "FUSE", look_.shared}, look_.scratch);
  }
  return *file;
}

void FileSystem::forget_unused(std::uint64_t node) {
  const auto found = files_.find(node);
  if (found == files_.end() || found->second->in_use()) return;
  if (found->second->written_unix_ms != 0) written_unix_ms_[node] = found->second->written_unix_ms;
  files_.erase(found);
}

bool FileSystem::writable(const NodeInfo& node) const {
  if (look_.scratch) return node.kind == NodeInfo::Kind::kSnapshot;
  return node.kind == NodeInfo::Kind::kHead && store_.read_only().empty();
}

// O_TRUNC is no wish for a disk of no bytes, but what a shell's > or cp says before they write: the disk
// stays as long as it is, as a block device would.
Task<void> FileSystem::open(Reply reply, std::uint64_t number, int flags) {
  const auto fresh = co_await refresh();
  const auto inode = inode_of(number);
  const NodeInfo* node =
      fresh && inode && inode->kind == Inode::Kind::kFile ? catalog_.node(inode->id) : nullptr;
  if (node == nullptr) {
    reply.error(fresh ? ENOENT : EIO);
    co_return;
  }
  const bool snapshot = node->kind == NodeInfo::Kind::kSnapshot;
  const Access access = (flags & O_ACCMODE) == O_RDONLY ? Access::kReadOnly : Access::kReadWrite;
  if (access == Access::kReadWrite && !writable(*node)) {
    reply.error(EROFS);
    co_return;
  }
  OpenFile& file = file_of(inode->id, reply.process());
  file.pin();
  const auto opened = co_await file.open(access);
  if (!opened) {
    log("opening a file in " + directory_ + ": " + opened.error().message);
    reply.error(opened.error());
  } else {
    auto made = std::make_unique<Handle>(&file, inode->id, access);
    Handle* handle = made.get();
    handles_.emplace(handle, std::move(made));
    const Reply::OpenHow how{.past_cache = (flags & O_DIRECT) != 0, .keep_cache = snapshot && !look_.scratch};
    if (!reply.opened(reinterpret_cast<std::uint64_t>(handle), how)) {
      handles_.erase(handle);
      co_await file.close(access);
    }
  }
  file.unpin();
  forget_unused(inode->id);
}

Task<void> FileSystem::close(Reply reply, std::uint64_t handle) {
  const Handle closed = handle_of(handle);
  handles_.erase(&handle_of(handle));
  co_await closed.file->close(closed.access);
  forget_unused(closed.node);
  reply.done();
}

// Of files that are still open, what was written is made durable first, as when they are closed.
Task<void> FileSystem::close_all() {
  while (!handles_.empty()) {
    const Handle closed = *handles_.begin()->first;
    handles_.erase(handles_.begin());
    BlockDevice* device = closed.file->device();
    if (closed.file->dirty && device != nullptr) {
      closed.file->dirty = false;
      const Result<> flushed = co_await device->flush();
      if (!flushed) log("the last flush of a file in " + directory_ + " failed: " + flushed.error().text);
    }
    co_await closed.file->close(closed.access);
    forget_unused(closed.node);
  }
  directories_.clear();
}

}  // namespace coppice::fuse
