#include "nbd/passed_sockets.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

namespace coppice::nbd {

namespace {

constexpr int kFirstDescriptor = 3;
constexpr long kMostDescriptors = 1024;

std::string taken_variable(const char* name) {
  const char* value = std::getenv(name);
  std::string text = value != nullptr ? value : "";
  ::unsetenv(name);
  return text;
}

std::optional<long> number_of(const std::string& text) {
  long number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

Outcome<std::vector<PassedSocket>> take_passed_sockets() {
  const std::string pid = taken_variable("LISTEN_PID");
  const std::string count_text = taken_variable("LISTEN_FDS");
  const std::string names = taken_variable("LISTEN_FDNAMES");
  std::vector<PassedSocket> sockets;
  if (count_text.empty() || number_of(pid) != ::getpid()) return sockets;
  const auto count = number_of(count_text);
  if (!count || *count < 0 || *count > kMostDescriptors)
    return refuse(ErrorKind::kInvalid, "LISTEN_FDS=" + count_text + " is no number of sockets");
  std::string_view rest = names;
  for (int index = 0; index < *count; ++index) {
    const int descriptor = kFirstDescriptor + index;
    if (::fcntl(descriptor, F_SETFD, FD_CLOEXEC) != 0)
      return refuse(ErrorKind::kInvalid, "LISTEN_FDS=" + count_text + ", and descriptor " +
                                             std::to_string(descriptor) + " is not open");
    const std::string name(rest.substr(0, rest.find(':')));
    rest.remove_prefix(std::min(rest.size(), name.size() + 1));
    sockets.push_back({descriptor, name.empty() ? "unknown" : name});
  }
  return sockets;
}

}  // namespace coppice::nbd
