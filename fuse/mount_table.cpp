#include "fuse/mount_table.h"

#include <algorithm>
#include <ranges>
#include <sstream>

namespace coppice::fuse {

namespace {

constexpr std::size_t kDirectoryField = 4;
constexpr std::size_t kEscapeLength = 4;  // \040

bool is_octal(char digit) {
  return digit >= '0' && digit <= '7';
}

// Blanks, tabs, line breaks and backslashes are written as \ooo.
std::string unescaped(const std::string& text) {
  std::string all;
  for (std::size_t at = 0; at < text.size();) {
    const bool escape = text[at] == '\\' && at + kEscapeLength <= text.size() &&
                        std::ranges::all_of(text.substr(at + 1, kEscapeLength - 1), is_octal);
    all +=
        escape ? static_cast<char>(std::stoi(text.substr(at + 1, kEscapeLength - 1), nullptr, 8)) : text[at];
    at += escape ? kEscapeLength : 1;
  }
  return all;
}

}  // namespace

// ID PARENT MAJOR:MINOR ROOT DIRECTORY OPTIONS [OPTIONAL…] - TYPE SOURCE SUPER-OPTIONS
std::optional<MountEntry> parse_mount(const std::string& line) {
  std::istringstream text(line);
  std::vector<std::string> fields;
  for (std::string field; text >> field;) fields.push_back(field);
  const auto separator = std::ranges::find(fields, "-");
  if (separator - fields.begin() <= static_cast<std::ptrdiff_t>(kDirectoryField) ||
      fields.end() - separator < 3)
    return std::nullopt;
  return MountEntry{unescaped(fields[kDirectoryField]), *(separator + 1), unescaped(*(separator + 2))};
}

std::optional<MountEntry> mount_on(const std::vector<MountEntry>& mounts, const std::string& directory) {
  const auto all = mounts | std::views::reverse;
  const auto found = std::ranges::find(all, directory, &MountEntry::directory);
  if (found == all.end()) return std::nullopt;
  return *found;
}

bool is_coppice(const MountEntry& mount) {
  return mount.type == "fuse.coppice";
}

}  // namespace coppice::fuse
