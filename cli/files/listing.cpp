#include "cli/files/listing.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "cli/files/folder.h"
#include "cli/files/guest_path.h"
#include "cli/table.h"
#include "cli/time_text.h"
#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

constexpr std::int64_t kMsPerSecond = 1000;
constexpr std::int64_t kNsPerMs = 1'000'000;
constexpr unsigned kModeBits = 07777;

struct Kind {
  mode_t bits;
  char letter;
  const char* name;
};
constexpr std::array<Kind, 7> kKinds{{{S_IFREG, '-', "file"},
                                      {S_IFDIR, 'd', "folder"},
                                      {S_IFLNK, 'l', "link"},
                                      {S_IFCHR, 'c', "character device"},
                                      {S_IFBLK, 'b', "block device"},
                                      {S_IFIFO, 'p', "pipe"},
                                      {S_IFSOCK, 's', "socket"}}};

const Kind& kind_of(mode_t mode) {
  const auto* found = std::ranges::find(kKinds, mode & S_IFMT, &Kind::bits);
  return found == kKinds.end() ? kKinds[0] : *found;
}

Json entry_json(int folder, const std::string& name, const struct stat& status) {
  const std::int64_t modified = status.st_mtim.tv_sec * kMsPerSecond + status.st_mtim.tv_nsec / kNsPerMs;
  return {{"name", shown(name)},
          {"kind", kind_of(status.st_mode).name},
          {"mode", fmt::format("{:04o}", status.st_mode & kModeBits)},
          {"uid", status.st_uid},
          {"gid", status.st_gid},
          {"size", static_cast<std::uint64_t>(status.st_size)},
          {"modified", format_time(modified)},
          {"target", S_ISLNK(status.st_mode) ? shown(link_target(folder, name)) : ""}};
}

std::string mode_text(const Json& file) {
  const auto* kind = std::ranges::find(kKinds, file.value("kind", ""), &Kind::name);
  const unsigned mode = static_cast<unsigned>(std::stoul(file.value("mode", "0"), nullptr, 8));
  std::string text(1, kind == kKinds.end() ? '?' : kind->letter);
  constexpr const char* kLetters = "rwxrwxrwx";
  for (unsigned bit = 0; bit < 9; ++bit) text += (mode & (0400U >> bit)) != 0 ? kLetters[bit] : '-';
  const auto special = [&](unsigned bit, std::size_t at, char letter) {
    if ((mode & bit) != 0) text[at] = text[at] == 'x' ? letter : static_cast<char>(letter - ('a' - 'A'));
  };
  special(S_ISUID, 3, 's');
  special(S_ISGID, 6, 's');
  special(S_ISVTX, 9, 't');
  return text;
}

Outcome<Json> list_folder(UniqueFd folder, const std::string& path) {
  auto names = names_in(folder.get(), path);
  if (!names) return std::unexpected(names.error());
  Json all = Json::array();
  for (const auto& name : *names) {
    struct stat status{};
    if (fstatat(folder.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
      return refuse(ErrorKind::kIo,
                    fmt::format("{}: {}", shown(fmt::format("{}/{}", path, name)), std::strerror(errno)));
    all.push_back(entry_json(folder.get(), name, status));
  }
  return all;
}

const char* name_of(Difference what) {
  constexpr std::array kNames{"added", "removed", "content", "metadata"};
  return kNames[static_cast<std::size_t>(what)];
}

}  // namespace

Json volumes_json(const std::vector<Volume>& volumes) {
  Json all = Json::array();
  for (const Volume& volume : volumes) {
    all.push_back({{"partition", volume.partition},
                   {"offset", volume.offset_bytes},
                   {"size", volume.length_bytes},
                   {"type", volume.type},
                   {"file_system", volume.file_system},
                   {"label", shown(volume.label)},
                   {"uuid", volume.uuid}});
  }
  return all;
}

std::string render_volumes(const Json& volumes) {
  Table table({Table::Align::kLeft, Table::Align::kRight, Table::Align::kLeft, Table::Align::kLeft,
               Table::Align::kLeft});
  table.add({"PARTITION", "SIZE", "TYPE", "LABEL", "UUID"});
  for (const Json& volume : volumes) {
    const auto partition = volume.value("partition", 0U);
    const auto type = volume.value("type", "");
    table.add({partition == 0 ? "whole disk" : std::to_string(partition),
               format_size(volume.value("size", std::uint64_t{0})), type.empty() ? "unknown" : type,
               volume.value("label", ""), volume.value("uuid", "")});
  }
  return table.text();
}

Outcome<Json> list_files(int root, const std::string& path) {
  const Entry entry = split_path(path);
  auto folder = open_inside(root, path, O_RDONLY | O_DIRECTORY | O_NONBLOCK, LastLink::kFollowed);
  if (folder) return list_folder(std::move(*folder), path);
  auto parent = open_inside(root, entry.folder, O_PATH | O_DIRECTORY, LastLink::kFollowed);
  if (!parent) return std::unexpected(folder.error());
  struct stat status{};
  if (fstatat(parent->get(), entry.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
    return std::unexpected(folder.error());
  return Json::array({entry_json(parent->get(), entry.name, status)});
}

std::string render_files(const Json& files) {
  Table table({Table::Align::kLeft, Table::Align::kRight, Table::Align::kRight, Table::Align::kRight,
               Table::Align::kLeft, Table::Align::kLeft});
  for (const Json& file : files) {
    const auto target = file.value("target", "");
    table.add({mode_text(file), std::to_string(file.value("uid", 0U)), std::to_string(file.value("gid", 0U)),
               std::to_string(file.value("size", std::uint64_t{0})), file.value("modified", ""),
               file.value("name", "") + (target.empty() ? "" : " -> " + target)});
  }
  return table.text();
}

void FileChanges::add(const std::string& path, Difference what) {
  if (context_.json) {
    list_.push_back({{"path", shown(path)}, {"change", name_of(what)}});
  } else {
    context_.out << "+-Mm"[static_cast<std::size_t>(what)] << " " << shown(path) << "\n";
  }
}

void FileChanges::finish() {
  if (context_.json) context_.print(list_, [](const Json&) { return std::string(); });
}

}  // namespace coppice::cli
