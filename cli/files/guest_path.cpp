#include "cli/files/guest_path.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>

#include "coppice/store.h"

namespace coppice::cli {
namespace {

std::string octal(unsigned char byte) {
  constexpr unsigned kDigit = 7;
  std::string text = "\\";
  for (const unsigned shift : {6U, 3U, 0U}) text += static_cast<char>('0' + ((byte >> shift) & kDigit));
  return text;
}

// How long the character of UTF-8 at `at` is; 0: it is none.
std::size_t character_at(const std::string& text, std::size_t at) {
  const auto byte = [&](std::size_t index) { return static_cast<unsigned char>(text[index]); };
  const unsigned first = byte(at);
  const std::size_t length = first < 0x80   ? 1
                             : first < 0xC2 ? 0
                             : first < 0xE0 ? 2
                             : first < 0xF0 ? 3
                             : first < 0xF5 ? 4
                                            : 0;
  if (length == 0 || at + length > text.size()) return 0;
  for (std::size_t index = 1; index < length; ++index) {
    if ((byte(at + index) & 0xC0U) != 0x80) return 0;
  }
  if (length == 1) return first < 0x20 || first == 0x7F || first == '\\' ? 0 : 1;
  const unsigned second = byte(at + 1);
  const bool too_long = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
  const bool none = (first == 0xED && second >= 0xA0) || (first == 0xF4 && second >= 0x90);
  const bool control = first == 0xC2 && second < 0xA0;
  return too_long || none || control ? 0 : length;
}

}  // namespace

std::string shown(const std::string& name) {
  std::string all;
  for (std::size_t at = 0; at < name.size();) {
    const std::size_t length = character_at(name, at);
    if (length == 0) {
      all += octal(static_cast<unsigned char>(name[at++]));
    } else {
      all += name.substr(at, length);
      at += length;
    }
  }
  return all;
}

Outcome<GuestPlace> parse_place(const std::string& text) {
  const auto colon = text.find(":/");
  auto spec = parse_spec(text.substr(0, colon));
  if (!spec && text.find('/') != std::string::npos && colon == std::string::npos)
    return refuse(ErrorKind::kInvalid, "'" + shown(text) + "': a path begins with a slash: DISK@SNAP:/PATH");
  if (!spec) return std::unexpected(spec.error());
  if (spec->snapshot.empty())
    return refuse(ErrorKind::kInvalid,
                  "'" + spec->disk +
                      "' is a disk: files are read from snapshots, take one with 'coppice snapshot " +
                      spec->disk + "@NAME'");
  return GuestPlace{*spec, colon == std::string::npos ? "" : text.substr(colon + 1)};
}

Outcome<UniqueFd> open_inside(int root, const std::string& path, int flags, LastLink last) {
  open_how how{};
  how.flags =
      static_cast<std::uint64_t>(flags | O_CLOEXEC | (last == LastLink::kTakenItself ? O_NOFOLLOW : 0));
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  const std::string inside = path.empty() ? "/" : path;
  const long opened = syscall(SYS_openat2, root, inside.c_str(), &how, sizeof how);
  if (opened >= 0) return UniqueFd(static_cast<int>(opened));
  const bool absent = errno == ENOENT || errno == ENOTDIR;
  return refuse(absent ? ErrorKind::kNotFound : ErrorKind::kIo, shown(inside) + ": " + std::strerror(errno));
}

Entry split_path(const std::string& path) {
  std::string trimmed = path;
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
  const auto slash = trimmed.rfind('/');
  Entry entry{trimmed.substr(0, slash + 1), trimmed.substr(slash + 1)};
  if (entry.name.empty() || entry.name == "..") return {trimmed, "."};
  return entry;
}

Outcome<struct stat> status_of(int descriptor, const std::string& path) {
  struct stat status{};
  if (fstat(descriptor, &status) == 0) return status;
  return refuse(ErrorKind::kIo, shown(path) + ": " + std::strerror(errno));
}

}  // namespace coppice::cli
