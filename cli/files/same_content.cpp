#include "cli/files/same_content.h"

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <optional>
#include <span>

namespace coppice::cli {
namespace {

constexpr unsigned kExtentsAtOnce = 256;
constexpr std::size_t kPieceBytes = std::size_t{1} << 20;
// A place that is none of the volume, or holds more than the file's bytes as they are.
constexpr std::uint32_t kUntold = FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_ENCODED |
                                  FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_NOT_ALIGNED;

struct FileExtent {
  std::uint64_t logical = 0;
  std::uint64_t physical = 0;
  std::uint64_t length = 0;
  bool unwritten = false;
  bool operator==(const FileExtent&) const = default;
};

// Nothing where they can't be told.
std::optional<std::vector<FileExtent>> extents_of(int file) {
  std::vector<FileExtent> all;
  // A request, and room for its answer behind it.
  std::vector<std::uint64_t> memory((sizeof(fiemap) + kExtentsAtOnce * sizeof(fiemap_extent)) /
                                    sizeof(std::uint64_t));
  auto& request = *new (memory.data()) fiemap{};
  bool last = false;
  while (!last) {
    request.fm_start = all.empty() ? 0 : all.back().logical + all.back().length;
    request.fm_length = FIEMAP_MAX_OFFSET - request.fm_start;
    request.fm_extent_count = kExtentsAtOnce;
    if (ioctl(file, FS_IOC_FIEMAP, &request) != 0) return std::nullopt;
    last = request.fm_mapped_extents == 0;
    for (const fiemap_extent& extent : std::span(request.fm_extents, request.fm_mapped_extents)) {
      if ((extent.fe_flags & kUntold) != 0) return std::nullopt;
      all.push_back({extent.fe_logical, extent.fe_physical, extent.fe_length,
                     (extent.fe_flags & FIEMAP_EXTENT_UNWRITTEN) != 0});
      last = last || (extent.fe_flags & FIEMAP_EXTENT_LAST) != 0;
    }
  }
  return all;
}

// Where files of the same extents may differ.
std::vector<ByteRange> doubtful(const std::vector<FileExtent>& extents, const ChangedRanges& changed) {
  std::vector<ByteRange> all;
  for (const FileExtent& extent : extents) {
    if (extent.unwritten) continue;
    for (const ByteRange& range : changed.within({extent.physical, extent.length}))
      all.push_back({extent.logical + (range.offset_bytes - extent.physical), range.length_bytes});
  }
  return all;
}

bool read_whole(int file, std::span<char> into, std::uint64_t offset) {
  while (!into.empty()) {
    const ssize_t got = pread(file, into.data(), into.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    into = into.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return true;
}

Outcome<bool> equal_range(int one, int other, const ByteRange& range) {
  std::vector<char> first(std::min<std::uint64_t>(kPieceBytes, range.length_bytes));
  std::vector<char> second(first.size());
  for (std::uint64_t done = 0; done < range.length_bytes; done += first.size()) {
    const std::size_t length = std::min<std::uint64_t>(first.size(), range.length_bytes - done);
    const std::uint64_t offset = range.offset_bytes + done;
    if (!read_whole(one, std::span(first).first(length), offset) ||
        !read_whole(other, std::span(second).first(length), offset))
      return refuse(ErrorKind::kIo, std::string("reading: ") + std::strerror(errno));
    if (std::memcmp(first.data(), second.data(), length) != 0) return false;
  }
  return true;
}

}  // namespace

// btrfs tells addresses of its own, and FUSE nothing; FAT knows no time of change.
Telling telling_of(const std::string& file_system, bool by_loop) {
  const bool blocks = file_system.starts_with("ext") || file_system == "xfs";
  const bool no_change_time = file_system == "vfat" || file_system == "exfat";
  return {.extents = by_loop && blocks, .change_time = !no_change_time};
}

Outcome<bool> same_content(int one, int other, const Telling& telling, const ChangedRanges& changed) {
  struct stat first{};
  struct stat second{};
  if (fstat(one, &first) != 0 || fstat(other, &second) != 0)
    return refuse(ErrorKind::kIo, std::string("looking at it: ") + std::strerror(errno));
  const auto size_bytes = static_cast<std::uint64_t>(first.st_size);
  std::vector<ByteRange> ranges{{0, size_bytes}};
  if (telling.extents) {
    const auto extents = extents_of(one);
    if (extents && extents == extents_of(other)) ranges = doubtful(*extents, changed);
  } else if (telling.change_time && first.st_ino == second.st_ino &&
             first.st_ctim.tv_sec == second.st_ctim.tv_sec &&
             first.st_ctim.tv_nsec == second.st_ctim.tv_nsec) {
    return true;
  }
  for (ByteRange range : ranges) {
    if (range.offset_bytes >= size_bytes) continue;
    range.length_bytes = std::min(range.length_bytes, size_bytes - range.offset_bytes);
    auto equal = equal_range(one, other, range);
    if (!equal || !*equal) return equal;
  }
  return true;
}

}  // namespace coppice::cli
