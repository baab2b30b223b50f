#include "fuse/reply.h"

#include <cerrno>

#define FUSE_USE_VERSION 35
#include <fuse3/fuse_lowlevel.h>

namespace coppice::fuse {

namespace {

// Long enough for an open file, whose size nobody else changes. A path is asked for each time it is used.
constexpr double kAttributesSeconds = 1.0;

// The answer to OPEN as the kernel reads it: libfuse 3.14 does not know the last of the flags.
struct OpenAnswer {
  std::uint64_t handle;
  std::uint32_t flags;
  std::uint32_t padding;
};
static_assert(sizeof(OpenAnswer) == 16);
constexpr std::uint32_t kOpenDirectIo = 1U << 0;
constexpr std::uint32_t kOpenKeepCache = 1U << 1;
constexpr std::uint32_t kOpenParallelDirectWrites = 1U << 6;  // ignored by Linux before 6.2

mode_t type_of(const Inode& inode) {
  if (inode.is_directory()) return S_IFDIR;
  return inode.kind == Inode::Kind::kLink ? S_IFLNK : S_IFREG;
}

}  // namespace

// In a file system EPERM means the process, EROFS the place.
int Reply::errno_for(ErrorKind kind) {
  return kind == ErrorKind::kReadOnly ? EROFS : errno_of(Error{.kind = kind});
}

void Reply::error(int errno_value) const {
  fuse_reply_err(request_, errno_value);
}

void Reply::entry(const struct stat& attributes) const {
  fuse_entry_param entry{};
  entry.ino = attributes.st_ino;
  entry.generation = 1;
  entry.attr = attributes;
  entry.attr_timeout = kAttributesSeconds;
  fuse_reply_entry(request_, &entry);
}

void Reply::attributes(const struct stat& attributes) const {
  fuse_reply_attr(request_, &attributes, kAttributesSeconds);
}

void Reply::link(const std::string& target) const {
  fuse_reply_readlink(request_, target.c_str());
}

bool Reply::opened(std::uint64_t handle, OpenHow how) const {
  OpenAnswer answer{handle, 0, 0};
  if (how.past_cache) answer.flags |= kOpenDirectIo | kOpenParallelDirectWrites;
  if (how.keep_cache) answer.flags |= kOpenKeepCache;
  return fuse_reply_buf(request_, reinterpret_cast<const char*>(&answer), sizeof answer) == 0;
}

void Reply::data(std::span<const std::byte> bytes) const {
  fuse_reply_buf(request_, reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void Reply::written(std::size_t bytes) const {
  fuse_reply_write(request_, bytes);
}

void Reply::position(std::uint64_t offset) const {
  fuse_reply_lseek(request_, static_cast<off_t>(offset));
}

void Reply::file_system(const struct statvfs& figures) const {
  fuse_reply_statfs(request_, &figures);
}

void Reply::directory(const std::vector<DirectoryEntry>& entries, std::uint64_t first,
                      std::size_t most_bytes) const {
  std::vector<char> text(most_bytes);
  std::size_t used = 0;
  for (std::uint64_t index = first; index < entries.size(); ++index) {
    const DirectoryEntry& entry = entries[index];
    struct stat attributes{};
    attributes.st_ino = number_of(entry.inode);
    attributes.st_mode = type_of(entry.inode);
    const std::size_t needed =
        fuse_add_direntry(request_, text.data() + used, most_bytes - used, entry.name.c_str(), &attributes,
                          static_cast<off_t>(index + 1));
    if (needed > most_bytes - used) break;
    used += needed;
  }
  fuse_reply_buf(request_, text.data(), used);
}

int Reply::process() const {
  return fuse_req_ctx(request_)->pid;
}

}  // namespace coppice::fuse
