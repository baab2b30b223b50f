#include "cli/image_target.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace coppice::cli {
namespace {

std::unexpected<Failure> image_refusal(const std::string& path, int errno_value) {
  const ErrorKind kind = errno_value == ENOENT   ? ErrorKind::kNotFound
                         : errno_value == ENOSPC ? ErrorKind::kNoSpace
                                                 : ErrorKind::kIo;
  return refuse(kind, "image " + path + ": " + std::strerror(errno_value));
}

std::unexpected<Failure> exists_already(const std::string& path) {
  return refuse(ErrorKind::kExists,
                "image " + path + " exists: choose another name, or replace it with --force");
}

// What the process would give a file that it creates; reading it means setting it.
mode_t file_mode() {
  const mode_t mask = umask(0);
  umask(mask);
  return 0666 & ~mask;
}

}  // namespace

Outcome<ImageTarget> ImageTarget::standard_output() {
  if (isatty(STDOUT_FILENO) == 1) {
    return refuse(ErrorKind::kInvalid, "standard output is a terminal: send the image to a file or pipe");
  }
  UniqueFd file(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0));
  if (!file.valid()) return image_refusal("-", errno);
  return ImageTarget(std::move(file), Kind::kStream, "-");
}

Outcome<ImageTarget> ImageTarget::open(const std::string& path, bool replace) {
  struct stat status{};
  if (stat(path.c_str(), &status) != 0) {
    if (errno != ENOENT) return image_refusal(path, errno);
    return new_file(path, replace);
  }
  const bool holds_something = S_ISREG(status.st_mode) || S_ISBLK(status.st_mode);
  if (holds_something && !replace) return exists_already(path);
  if (S_ISREG(status.st_mode)) {
    // Behind a symbolic link, the file it leads to is replaced, and not the link.
    std::error_code error;
    const auto target = std::filesystem::canonical(path, error);
    return new_file(error ? path : target.string(), replace);
  }
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.valid()) return image_refusal(path, errno);
  return ImageTarget(std::move(file), S_ISBLK(status.st_mode) ? Kind::kBlockDevice : Kind::kStream, path);
}

Outcome<ImageTarget> ImageTarget::new_file(const std::string& path, bool replace) {
  constexpr const char* kSuffix = ".part";
  std::string part_path = path + ".XXXXXX" + kSuffix;
  UniqueFd file(mkostemps(part_path.data(), static_cast<int>(std::strlen(kSuffix)), O_CLOEXEC));
  if (!file.valid()) return image_refusal(path, errno);
  ImageTarget target(std::move(file), Kind::kNewFile, path);
  target.part_path_ = std::move(part_path);
  target.replace_ = replace;
  if (fchmod(target.descriptor(), file_mode()) != 0) return image_refusal(path, errno);
  return target;
}

ImageTarget::ImageTarget(ImageTarget&& other) noexcept
    : file_(std::move(other.file_)),
      kind_(other.kind_),
      path_(std::move(other.path_)),
      part_path_(std::exchange(other.part_path_, {})),
      replace_(other.replace_) {}

ImageTarget::~ImageTarget() {
  if (!part_path_.empty()) unlink(part_path_.c_str());
}

Outcome<> ImageTarget::finish() {
  if (kind_ == Kind::kStream) return {};
  if (fsync(file_.get()) != 0) return image_refusal(path_, errno);
  if (kind_ == Kind::kBlockDevice) return {};
  auto named = give_name();
  if (!named) return named;
  part_path_.clear();
  const auto folder = std::filesystem::path(path_).parent_path();
  const UniqueFd directory(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid() || fsync(directory.get()) != 0) return image_refusal(path_, errno);
  return {};
}

Outcome<> ImageTarget::give_name() {
  const unsigned flags = replace_ ? 0 : RENAME_NOREPLACE;
  if (renameat2(AT_FDCWD, part_path_.c_str(), AT_FDCWD, path_.c_str(), flags) == 0) return {};
  if (errno == EEXIST) return exists_already(path_);
  // Some file systems can't promise not to replace; a link to a name that is taken fails on all of them.
  if (errno != EINVAL || link(part_path_.c_str(), path_.c_str()) != 0) {
    return errno == EEXIST ? exists_already(path_) : image_refusal(path_, errno);
  }
  unlink(part_path_.c_str());
  return {};
}

}  // namespace coppice::cli
