#include "cli/files/new_mount.h"

#include <sys/mount.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace coppice::cli {

Outcome<NewMount> NewMount::begin(const std::string& type) {
  UniqueFd context(fsopen(type.c_str(), FSOPEN_CLOEXEC));
  if (context.valid()) return NewMount(type, std::move(context));
  if (errno == ENODEV) return refuse(ErrorKind::kUnsupported, "this kernel knows no file system " + type);
  return refuse(ErrorKind::kIo, "mounting " + type + ": " + std::strerror(errno));
}

NewMount& NewMount::set(const char* key, const std::string& value) {
  if (fsconfig(context_.get(), FSCONFIG_SET_STRING, key, value.c_str(), 0) != 0 && error_ == 0)
    error_ = errno;
  return *this;
}

NewMount& NewMount::set(const char* flag) {
  if (fsconfig(context_.get(), FSCONFIG_SET_FLAG, flag, nullptr, 0) != 0 && error_ == 0) error_ = errno;
  return *this;
}

// Messages of the kernel are lines that begin with a letter for how grave they are.
std::string NewMount::said() const {
  std::string all;
  std::array<char, 1024> line{};
  for (ssize_t got = 0; (got = read(context_.get(), line.data(), line.size())) > 0;) {
    std::string text(line.data(), static_cast<std::size_t>(got));
    while (!text.empty() && text.back() == '\n') text.pop_back();
    if (text.starts_with("e ")) all += ": " + text.substr(2);
  }
  return all;
}

Outcome<UniqueFd> NewMount::finish(unsigned attributes) {
  if (error_ == 0 && fsconfig(context_.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) error_ = errno;
  UniqueFd root;
  if (error_ == 0) {
    root = UniqueFd(fsmount(context_.get(), FSMOUNT_CLOEXEC, attributes));
    if (!root.valid()) error_ = errno;
  }
  if (error_ == 0) return root;
  return refuse(ErrorKind::kIo, "mounting " + type_ + ": " + std::strerror(error_) + said());
}

}  // namespace coppice::cli
