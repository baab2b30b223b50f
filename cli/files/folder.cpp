#include "cli/files/folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "cli/files/guest_path.h"

namespace coppice::cli {

namespace {

constexpr std::size_t kLongestTarget = 4096;

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};

}  // namespace

std::unexpected<Failure> io_trouble(const std::string& path) {
  return refuse(ErrorKind::kIo, shown(path) + ": " + std::strerror(errno));
}

Outcome<std::vector<std::string>> names_in(int folder, const std::string& path) {
  const int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, CloseDirectory> directory(copy < 0 ? nullptr : fdopendir(copy));
  if (!directory) return io_trouble(path);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = readdir(directory.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  if (errno != 0) return io_trouble(path);
  std::ranges::sort(names);
  return names;
}

std::string link_target(int folder, const std::string& name) {
  std::array<char, kLongestTarget> text{};
  const ssize_t got = readlinkat(folder, name.c_str(), text.data(), text.size());
  return {text.data(), got < 0 ? 0 : static_cast<std::size_t>(got)};
}

}  // namespace coppice::cli
