#include "cli/files/tar_stream.h"

#include <fcntl.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "cli/files/child.h"
#include "cli/files/guest_path.h"

namespace coppice::cli {
namespace {

std::string path_of(int descriptor) {
  return "/proc/self/fd/" + std::to_string(descriptor);
}

std::vector<std::string> packing(int folder, const std::string& name) {
  return {"tar",
          "--create",
          "--file=-",
          "--format=posix",
          "--numeric-owner",
          "--acls",
          "--xattrs",
          "--xattrs-include=*",
          "--sparse",
          "--directory=" + path_of(folder),
          "--no-unquote",
          "--",
          name};
}

std::vector<std::string> unpacking(int into) {
  std::vector<std::string> words{"tar",
                                 "--extract",
                                 "--file=-",
                                 "--numeric-owner",
                                 "--acls",
                                 "--xattrs",
                                 "--xattrs-include=*",
                                 "--preserve-permissions",
                                 "--directory=" + path_of(into)};
  if (!is_root()) words.emplace_back("--no-same-owner");
  return words;
}

Outcome<> told(const char* what, const std::string& name, int code) {
  if (code == 0) return {};
  return refuse(ErrorKind::kIo, std::string(what) + " " + shown(name) + ": tar ended with code " +
                                    std::to_string(code) + ", what it said is above");
}

}  // namespace

Outcome<> write_tar(int folder, const std::string& name, int output) {
  auto child = start_child(packing(folder, name), {.output = output, .kept = {folder}});
  if (!child) return std::unexpected(child.error());
  return told("reading", name, wait_for_child(*child));
}

Outcome<> copy_by_tar(int folder, const std::string& name, int into) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0)
    return refuse(ErrorKind::kIo, std::string("pipe: ") + std::strerror(errno));
  UniqueFd output(ends[0]);
  UniqueFd input(ends[1]);
  auto reader = start_child(packing(folder, name), {.output = input.get(), .kept = {folder}});
  if (!reader) return std::unexpected(reader.error());
  input.reset();
  auto writer = start_child(unpacking(into), {.input = output.get(), .kept = {into}});
  output.reset();
  const int read = wait_for_child(*reader);
  if (!writer) return std::unexpected(writer.error());
  const int written = wait_for_child(*writer);
  auto outcome = told("writing", name, written);
  return outcome ? told("reading", name, read) : outcome;
}

}  // namespace coppice::cli
