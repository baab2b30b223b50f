// Names and attributes.
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "fuse/file_system.h"
#include "fuse/time_name.h"

namespace coppice::fuse {

namespace {

constexpr std::int64_t kNsPerMs = 1'000'000;
constexpr mode_t kReadBits = 0444;
constexpr mode_t kWriteBits = 0222;
constexpr std::uint64_t kStatBlockBytes = 512;
constexpr unsigned kLongestName = 255;
// What a stat may cost. Enough for some 30 GiB.
constexpr std::chrono::milliseconds kCountBudget{10};
// A count holds so many times as long as it took.
constexpr int kCountHolds = 100;

timespec time_of(std::int64_t unix_ms) {
  return {unix_ms / kMsPerSecond, unix_ms % kMsPerSecond * kNsPerMs};
}

void set_times(struct stat& attributes, std::int64_t unix_ms) {
  attributes.st_atim = attributes.st_mtim = attributes.st_ctim = time_of(unix_ms);
}

}  // namespace

Task<Outcome<>> FileSystem::refresh() {
  const std::uint64_t changes = store_.changes();
  if (changes != 0 && changes == seen_changes_) co_return Outcome<>{};
  auto nodes = co_await store_.tree(std::nullopt);
  if (!nodes) co_return std::unexpected(nodes.error());
  catalog_ = Catalog(std::move(*nodes), names_);
  seen_changes_ = changes;
  std::erase_if(counted_, [this](const auto& entry) { return catalog_.node(entry.first) == nullptr; });
  std::erase_if(written_unix_ms_,
                [this](const auto& entry) { return catalog_.node(entry.first) == nullptr; });
  co_return Outcome<>{};
}

Task<std::optional<Spec>> FileSystem::name_of(std::uint64_t node) {
  const auto fresh = co_await refresh();
  const NodeInfo* info = fresh ? catalog_.node(node) : nullptr;
  if (info == nullptr) co_return std::nullopt;
  co_return spec_of(*info);
}

// A snapshot is counted once; a disk again when the last count is old.
Task<std::uint64_t> FileSystem::allocated(Spec spec, std::uint64_t node, std::uint64_t size_bytes,
                                          bool changes) {
  const auto known = counted_.find(node);
  if (known != counted_.end()) {
    const Counted& counted = known->second;
    if (counted.until.count() == 0 || reactor_.now() < counted.until) co_return counted.bytes;
  }
  const auto began = reactor_.now();
  auto answer = co_await store_.allocated(spec, kCountBudget);
  if (!answer) co_return size_bytes;
  const bool for_good = answer->exact && !changes;
  const auto now = reactor_.now();
  const auto until = for_good ? std::chrono::nanoseconds{0} : now + (now - began) * kCountHolds;
  counted_[node] = {answer->bytes, until};
  co_return answer->bytes;
}

struct stat FileSystem::directory_attributes(const Inode& inode) const {
  const Catalog::Summary summary = catalog_.summary(inode);
  struct stat attributes{};
  attributes.st_ino = number_of(inode);
  attributes.st_mode = S_IFDIR | look_.mode | ((look_.mode & kReadBits) >> 2U);
  attributes.st_mode &= ~kWriteBits;  // nothing is made here by its name
  attributes.st_nlink = 2 + summary.directories;
  attributes.st_uid = look_.uid;
  attributes.st_gid = look_.gid;
  set_times(attributes, summary.newest_unix_ms);
  return attributes;
}

Task<Outcome<struct stat>> FileSystem::attributes_of(Inode inode) {
  if (inode.is_directory()) co_return directory_attributes(inode);
  const NodeInfo* node = catalog_.node(inode.id);
  const bool disk = node->kind == NodeInfo::Kind::kHead;
  struct stat attributes{};
  attributes.st_ino = number_of(inode);
  attributes.st_nlink = 1;
  attributes.st_uid = look_.uid;
  attributes.st_gid = look_.gid;
  attributes.st_blksize = kBlockBytes;
  set_times(attributes, node->created_unix_ms);
  if (inode.kind == Inode::Kind::kLink) {
    attributes.st_mode = S_IFLNK | 0777;
    attributes.st_size = static_cast<off_t>(catalog_.link_target(inode)->size());
    co_return attributes;
  }
  attributes.st_mode = S_IFREG | (writable(*node) ? look_.mode : look_.mode & kReadBits);
  attributes.st_size = static_cast<off_t>(node->size_bytes);
  if (const auto written = written_unix_ms_.find(inode.id); written != written_unix_ms_.end())
    attributes.st_mtim = attributes.st_ctim = time_of(written->second);
  const auto open = files_.find(inode.id);
  if (open != files_.end() && open->second->written_unix_ms != 0)
    attributes.st_mtim = attributes.st_ctim = time_of(open->second->written_unix_ms);
  // `node` is not used behind this: the catalog may be another one then.
  const std::uint64_t size_bytes = node->size_bytes;
  const std::uint64_t bytes = co_await allocated(spec_of(*node), inode.id, size_bytes, disk);
  attributes.st_blocks = static_cast<blkcnt_t>(bytes / kStatBlockBytes);
  co_return attributes;
}

Task<void> FileSystem::lookup(Reply reply, std::uint64_t parent, std::string name) {
  const auto fresh = co_await refresh();
  if (!fresh) {
    reply.error(fresh.error());
    co_return;
  }
  const auto directory = inode_of(parent);
  std::optional<Inode> found;
  if (directory && directory->is_directory() && catalog_.has(*directory))
    found = catalog_.lookup(*directory, name);
  if (!found) {
    reply.error(ENOENT);
    co_return;
  }
  const auto attributes = co_await attributes_of(*found);
  reply.entry(*attributes);
}

Task<void> FileSystem::get_attributes(Reply reply, std::uint64_t number) {
  const auto fresh = co_await refresh();
  const auto inode = inode_of(number);
  if (!fresh || !inode || !catalog_.has(*inode)) {
    reply.error(fresh ? ENOENT : EIO);
    co_return;
  }
  const auto attributes = co_await attributes_of(*inode);
  reply.attributes(*attributes);
}

// Times are taken without a word, for what copies files sets them, and not kept. Whose the files are and who
// may do what is the mount's.
Task<void> FileSystem::set_attributes(Reply reply, std::uint64_t number, Changes changes) {
  const auto fresh = co_await refresh();
  const auto inode = inode_of(number);
  const NodeInfo* node =
      fresh && inode && inode->kind == Inode::Kind::kFile ? catalog_.node(inode->id) : nullptr;
  if (changes.owner_or_mode || node == nullptr) {
    reply.error(EPERM);
    co_return;
  }
  if (!writable(*node) || look_.scratch) {
    reply.error(EROFS);
    co_return;
  }
  if (changes.size && changes.size_bytes != node->size_bytes) {
    const std::uint64_t id = inode->id;
    OpenFile& file = file_of(id, reply.process());
    file.pin();
    const auto resized = co_await file.resize(changes.size_bytes);
    file.unpin();
    forget_unused(id);
    counted_.erase(id);
    if (!resized) {
      log("the size of a file in " + directory_ + ": " + resized.error().message);
      reply.error(resized.error());
      co_return;
    }
  }
  co_await get_attributes(reply, number);
}

// The pool's: what growing pools can still get of their file systems counts as free.
Task<void> FileSystem::file_system_figures(Reply reply) {
  auto pools = co_await store_.pools();
  if (!pools) {
    reply.error(pools.error());
    co_return;
  }
  const auto fresh = co_await refresh();
  (void)fresh;  // the number of files is of no weight
  std::uint64_t size_bytes = 0;
  std::uint64_t used_bytes = 0;
  for (const PoolInfo& pool : *pools) {
    size_bytes += pool.size_bytes;
    used_bytes += pool.used_bytes;
    struct statvfs below{};
    if (pool.grows && statvfs(pool.path.c_str(), &below) == 0) size_bytes += below.f_bavail * below.f_frsize;
  }
  struct statvfs figures{};
  figures.f_bsize = figures.f_frsize = kBlockBytes;
  figures.f_blocks = size_bytes / kBlockBytes;
  figures.f_bfree = figures.f_bavail = (size_bytes - std::min(size_bytes, used_bytes)) / kBlockBytes;
  figures.f_files = catalog_.files();
  figures.f_namemax = kLongestName;
  reply.file_system(figures);
}

}  // namespace coppice::fuse
