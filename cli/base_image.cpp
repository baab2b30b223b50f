#include "cli/base_image.h"

#include <fcntl.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "cli/image_name.h"
#include "formats/image_file.h"

namespace coppice::cli {
namespace {

std::unexpected<Failure> base_refusal(const std::string& path, int errno_value) {
  const ErrorKind kind = errno_value == ENOENT ? ErrorKind::kNotFound : ErrorKind::kIo;
  return refuse(kind, "image " + path + ": " + std::strerror(errno_value));
}

}  // namespace

Outcome<BaseImage> open_base_image(const std::string& path, const std::string& format) {
  std::array<char, PATH_MAX> resolved{};
  if (realpath(path.c_str(), resolved.data()) == nullptr) return base_refusal(path, errno);
  // A pipe without a writer is not waited for.
  BaseImage base{UniqueFd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)), resolved.data(), format};
  if (!base.file.valid()) return base_refusal(path, errno);
  auto image = formats::examine(base.file.get(), false);
  if (!image) return std::unexpected(naming_image(image.error(), path, ImageSide::kSource));
  if (image->kind == formats::ImageKind::kStream) {
    return refuse(ErrorKind::kInvalid,
                  "image " + path + ": a base is read again and again: give a file or a block device");
  }
  if (!format.empty()) return base;
  std::array<char, formats::kHeadBytes> head{};
  const ssize_t got = pread(base.file.get(), head.data(), head.size(), 0);
  if (got < 0) return base_refusal(path, errno);
  const char* looks = formats::foreign_format({head.data(), static_cast<std::size_t>(got)});
  base.format = looks == nullptr ? "raw" : looks;
  if (base.format == "raw" || base.format == "qcow2") return base;
  return refuse(ErrorKind::kUnsupported, "image " + path + " looks like " + base.format +
                                             ", and a base is raw or qcow2: convert it (qemu-img convert -O "
                                             "raw), or say --format raw if it is");
}

}  // namespace coppice::cli
