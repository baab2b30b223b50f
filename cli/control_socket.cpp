#include "cli/control_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace coppice::cli {
namespace {

constexpr const char* kSocketName = "control.sock";
constexpr int kBacklog = 64;

std::unexpected<Failure> socket_failure(const std::string& store, const char* doing, int errno_value) {
  std::string remedy;
  if (errno_value == EACCES || errno_value == EPERM)
    remedy = ": run this as the user that `coppice serve` runs as";
  return refuse(ErrorKind::kIo, std::string(doing) + " control socket " + control_path(store) + ": " +
                                    std::strerror(errno_value) + remedy);
}

UniqueFd open_folder(const std::string& store) {
  return UniqueFd(open(store.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
}

sockaddr_un address_in(const UniqueFd& folder) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", folder.get(), kSocketName);
  return address;
}

}  // namespace

std::string control_path(const std::string& store) {
  return store + "/" + kSocketName;
}

Outcome<UniqueFd> connect_control(const std::string& store) {
  const UniqueFd folder = open_folder(store);
  if (!folder.valid()) return UniqueFd();  // opening the store will say what is wrong with it
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return socket_failure(store, "opening", errno);
  const sockaddr_un address = address_in(folder);
  if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return socket;
  if (errno == ENOENT || errno == ECONNREFUSED) return UniqueFd();
  return socket_failure(store, "connecting to", errno);
}

Outcome<UniqueFd> listen_control(const std::string& store) {
  const UniqueFd folder = open_folder(store);
  if (!folder.valid()) return socket_failure(store, "making", errno);
  struct stat status{};
  if (fstatat(folder.get(), kSocketName, &status, AT_SYMLINK_NOFOLLOW) == 0) {
    if (!S_ISSOCK(status.st_mode)) return socket_failure(store, "making", EEXIST);
    if (unlinkat(folder.get(), kSocketName, 0) != 0) return socket_failure(store, "replacing", errno);
  }
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return socket_failure(store, "making", errno);
  const sockaddr_un address = address_in(folder);
  // The mode is set before the name is there: nobody else gets in between.
  if (fchmod(socket.get(), S_IRUSR | S_IWUSR) != 0 ||
      bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(socket.get(), kBacklog) != 0) {
    return socket_failure(store, "making", errno);
  }
  return socket;
}

void remove_control(const std::string& store) {
  unlink(control_path(store).c_str());
}

}  // namespace coppice::cli
