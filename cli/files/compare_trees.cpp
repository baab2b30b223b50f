#include "cli/files/compare_trees.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <vector>

#include "cli/files/folder.h"
#include "cli/files/guest_path.h"
#include "cli/interrupt.h"
#include "cli/unique_fd.h"

namespace coppice::cli {
namespace {

// Deeper than guests' paths go; each level holds two descriptors.
constexpr std::size_t kDeepest = 400;

std::map<std::string, std::string> attributes_of(const std::string& path) {
  std::map<std::string, std::string> all;
  std::vector<char> names(XATTR_LIST_MAX);
  const ssize_t length = llistxattr(path.c_str(), names.data(), names.size());
  std::vector<char> value(XATTR_SIZE_MAX);
  for (ssize_t at = 0; at < length;) {
    const std::string name = names.data() + at;
    const ssize_t got = lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    all[name] = std::string(value.data(), got < 0 ? 0 : static_cast<std::size_t>(got));
    at += static_cast<ssize_t>(name.size()) + 1;
  }
  return all;
}

bool same_time(const timespec& one, const timespec& other) {
  return one.tv_sec == other.tv_sec && one.tv_nsec == other.tv_nsec;
}

class Walk {
 public:
  explicit Walk(const Comparison& comparison) : comparison_(comparison) {}

  // `depth` levels below the first.
  Outcome<> folders(int one, int other, const std::string& path, std::size_t depth) {
    if (interrupted()) return refuse(ErrorKind::kBusy, "called off");
    if (depth > kDeepest) return refuse(ErrorKind::kUnsupported, shown(path) + ": too deep");
    auto first = names_in(one, path);
    if (!first) return std::unexpected(first.error());
    auto second = names_in(other, path);
    if (!second) return std::unexpected(second.error());
    std::vector<std::string> all;
    std::ranges::set_union(*first, *second, std::back_inserter(all));
    Outcome<> outcome;
    for (auto name = all.begin(); outcome && name != all.end(); ++name) {
      const bool was = std::ranges::binary_search(*first, *name);
      const bool is = std::ranges::binary_search(*second, *name);
      const std::string below = path + "/" + *name;
      if (was && is) {
        outcome = both(one, other, *name, below, depth);
      } else {
        outcome = one_sided(was ? one : other, *name, below, was ? Difference::kRemoved : Difference::kAdded);
      }
    }
    return outcome;
  }

 private:
  // With all that is below it.
  Outcome<> one_sided(int folder, const std::string& name, const std::string& path, Difference what) {
    comparison_.tell(path, what);
    const UniqueFd inner(openat(folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!inner.valid()) return errno == ENOTDIR || errno == ELOOP ? Outcome<>() : io_trouble(path);
    auto names = names_in(inner.get(), path);
    if (!names) return std::unexpected(names.error());
    Outcome<> outcome;
    for (auto each = names->begin(); outcome && each != names->end(); ++each)
      outcome = one_sided(inner.get(), *each, path + "/" + *each, what);
    return outcome;
  }

  Outcome<> both(int one, int other, const std::string& name, const std::string& path, std::size_t depth) {
    struct stat was{};
    struct stat is{};
    if (fstatat(one, name.c_str(), &was, AT_SYMLINK_NOFOLLOW) != 0 ||
        fstatat(other, name.c_str(), &is, AT_SYMLINK_NOFOLLOW) != 0)
      return io_trouble(path);
    if ((was.st_mode & S_IFMT) != (is.st_mode & S_IFMT)) {
      auto outcome = one_sided(one, name, path, Difference::kRemoved);
      return outcome ? one_sided(other, name, path, Difference::kAdded) : outcome;
    }
    auto same = S_ISREG(was.st_mode)   ? same_file(one, other, name, path, was.st_size == is.st_size)
                : S_ISLNK(was.st_mode) ? link_target(one, name) == link_target(other, name)
                                       : was.st_rdev == is.st_rdev;
    if (!same) return std::unexpected(same.error());
    if (!*same) {
      comparison_.tell(path, Difference::kContent);
    } else if (!same_metadata(was, is) || !same_attributes(one, other, name, was, is)) {
      comparison_.tell(path, Difference::kMetadata);
    }
    return S_ISDIR(was.st_mode) ? descend(one, other, name, path, depth) : Outcome<>();
  }

  Outcome<> descend(int one, int other, const std::string& name, const std::string& path, std::size_t depth) {
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    const UniqueFd first(openat(one, name.c_str(), flags));
    const UniqueFd second(openat(other, name.c_str(), flags));
    if (!first.valid() || !second.valid()) return io_trouble(path);
    return folders(first.get(), second.get(), path, depth + 1);
  }

  Outcome<bool> same_file(int one, int other, const std::string& name, const std::string& path,
                          bool same_size) {
    if (!same_size) return false;
    const UniqueFd first(openat(one, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    const UniqueFd second(openat(other, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!first.valid() || !second.valid()) return io_trouble(path);
    auto same = same_content(first.get(), second.get(), comparison_.telling, comparison_.changed);
    if (!same) return refuse(same.error().kind, shown(path) + ": " + same.error().message);
    return same;
  }

  // A folder's times are those of what was made in it, which is told by itself.
  static bool same_metadata(const struct stat& was, const struct stat& is) {
    const bool times = S_ISDIR(was.st_mode) || same_time(was.st_mtim, is.st_mtim);
    return times && was.st_mode == is.st_mode && was.st_uid == is.st_uid && was.st_gid == is.st_gid;
  }

  // Looked at only where something of the inode has changed.
  static bool same_attributes(int one, int other, const std::string& name, const struct stat& was,
                              const struct stat& is) {
    if (same_time(was.st_ctim, is.st_ctim)) return true;
    const std::string folder = "/proc/self/fd/";
    return attributes_of(folder + std::to_string(one) + "/" + name) ==
           attributes_of(folder + std::to_string(other) + "/" + name);
  }

  const Comparison& comparison_;
};

}  // namespace

Outcome<> compare_trees(const Comparison& comparison, const std::string& path) {
  Walk walk(comparison);
  return walk.folders(comparison.one, comparison.other, path == "/" ? "" : path, 0);
}

}  // namespace coppice::cli
