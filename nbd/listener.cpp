#include "nbd/listener.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

namespace coppice::nbd {

namespace {

constexpr int kBacklog = 128;
constexpr mode_t kSocketMode = 0660;

// A descriptor until someone takes it over.
class OwnedDescriptor {
 public:
  explicit OwnedDescriptor(int descriptor) : descriptor_(descriptor) {}
  OwnedDescriptor(const OwnedDescriptor&) = delete;
  OwnedDescriptor& operator=(const OwnedDescriptor&) = delete;
  ~OwnedDescriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  [[nodiscard]] int get() const { return descriptor_; }
  int take() { return std::exchange(descriptor_, -1); }

 private:
  int descriptor_;
};

std::unexpected<Failure> cannot_listen(const Endpoint& endpoint, ErrorKind kind, const std::string& reason) {
  return refuse(kind, "cannot listen on " + export_uri(endpoint, "") + ": " + reason);
}

std::string reason_of(int error) {
  switch (error) {
    case EADDRINUSE:
      return "something listens there already; stop it or take another port";
    case EADDRNOTAVAIL:
      return "this machine has no such address; take one of its own";
    case ENOENT:
    case ENOTDIR:
      return "the socket's folder is not there; make it or take another path";
    case EACCES:
    case EPERM:
      return "permission denied; take a place that this user may use";
    default:
      return std::strerror(error);
  }
}

std::unexpected<Failure> cannot_listen(const Endpoint& endpoint, int error) {
  const ErrorKind kind = error == EADDRINUSE ? ErrorKind::kBusy : ErrorKind::kIo;
  return cannot_listen(endpoint, kind, reason_of(error));
}

sockaddr_un address_of(const UnixEndpoint& endpoint) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, endpoint.path.data(), endpoint.path.size());
  return address;
}

// Removes the socket of a server that died. Everything else at that path stays where it is.
Outcome<> clear_path(const UnixEndpoint& endpoint) {
  struct stat status{};
  if (::lstat(endpoint.path.c_str(), &status) != 0) return {};
  if (!S_ISSOCK(status.st_mode)) {
    return cannot_listen(endpoint, ErrorKind::kExists,
                         "the path exists and is not a socket; take another path");
  }
  const OwnedDescriptor probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const sockaddr_un address = address_of(endpoint);
  const int result = ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  if (result == 0 || errno == EAGAIN || errno == EINPROGRESS) {
    return cannot_listen(endpoint, ErrorKind::kBusy,
                         "another server answers there; stop it or take another path");
  }
  if (errno != ECONNREFUSED) return cannot_listen(endpoint, errno);
  if (::unlink(endpoint.path.c_str()) != 0 && errno != ENOENT) return cannot_listen(endpoint, errno);
  return {};
}

using AddressList = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

Outcome<AddressList> resolve(const TcpEndpoint& endpoint) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(endpoint.port);
  const int error = ::getaddrinfo(endpoint.host.c_str(), port.c_str(), &hints, &found);
  if (error != 0) return cannot_listen(endpoint, ErrorKind::kNotFound, ::gai_strerror(error));
  return AddressList(found, &::freeaddrinfo);
}

std::uint16_t port_of(int socket) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0) return 0;
  const in_port_t port = address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(address).sin6_port
                                                       : reinterpret_cast<sockaddr_in&>(address).sin_port;
  return ntohs(port);
}

void set_option(int socket, int level, int option, int value) {
  // Only ever a refinement: a socket that doesn't know it works all the same.
  static_cast<void>(::setsockopt(socket, level, option, &value, sizeof(value)));
}

}  // namespace

Outcome<Listener> Listener::open(const Endpoint& endpoint) {
  if (const auto* local = std::get_if<UnixEndpoint>(&endpoint)) return open_unix(*local);
  return open_tcp(std::get<TcpEndpoint>(endpoint));
}

Outcome<Listener> Listener::open_unix(const UnixEndpoint& endpoint) {
  if (auto cleared = clear_path(endpoint); !cleared) return std::unexpected(cleared.error());
  OwnedDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket.get() < 0) return cannot_listen(endpoint, errno);
  // The file takes its mode from the descriptor, less the umask, and so is never open to others, not even
  // for a moment; the second call undoes the umask.
  static_cast<void>(::fchmod(socket.get(), kSocketMode));
  const sockaddr_un address = address_of(endpoint);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return cannot_listen(endpoint, errno);
  }
  struct stat status{};
  if (::chmod(endpoint.path.c_str(), kSocketMode) != 0 || ::lstat(endpoint.path.c_str(), &status) != 0 ||
      ::listen(socket.get(), kBacklog) != 0) {
    const int error = errno;
    ::unlink(endpoint.path.c_str());
    return cannot_listen(endpoint, error);
  }
  Listener listener(socket.take(), endpoint);
  listener.device_ = status.st_dev;
  listener.inode_ = status.st_ino;
  return listener;
}

Outcome<Listener> Listener::open_tcp(const TcpEndpoint& endpoint) {
  const auto addresses = resolve(endpoint);
  if (!addresses) return std::unexpected(addresses.error());
  int error = EADDRNOTAVAIL;
  for (const addrinfo* address = addresses->get(); address != nullptr; address = address->ai_next) {
    OwnedDescriptor socket(::socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (socket.get() < 0) {
      error = errno;
      continue;
    }
    set_option(socket.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (::bind(socket.get(), address->ai_addr, address->ai_addrlen) == 0 &&
        ::listen(socket.get(), kBacklog) == 0) {
      const std::uint16_t port = port_of(socket.get());
      return Listener(socket.take(), TcpEndpoint{.host = endpoint.host, .port = port});
    }
    error = errno;
  }
  return cannot_listen(endpoint, error);
}

Listener::Listener(Listener&& other) noexcept
    : socket_(std::exchange(other.socket_, -1)),
      endpoint_(std::move(other.endpoint_)),
      device_(other.device_),
      inode_(other.inode_) {}

Listener::~Listener() {
  if (socket_ < 0) return;
  ::close(socket_);
  const auto* local = std::get_if<UnixEndpoint>(&endpoint_);
  if (local == nullptr) return;
  struct stat status{};
  if (::lstat(local->path.c_str(), &status) != 0) return;
  if (status.st_dev == device_ && status.st_ino == inode_) ::unlink(local->path.c_str());
}

void Listener::shut() {
  ::shutdown(socket_, SHUT_RDWR);
}

std::string describe_peer(int socket) {
  ucred credentials{};
  socklen_t length = sizeof(credentials);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0 && credentials.pid > 0) {
    return "nbd client pid " + std::to_string(credentials.pid);
  }
  sockaddr_storage address{};
  length = sizeof(address);
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&address), &length) == 0 &&
      ::getnameinfo(reinterpret_cast<sockaddr*>(&address), length, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
    return std::string("nbd client ") + host + ":" + port;
  }
  return "nbd client";
}

void tune_tcp(int socket) {
  int domain = 0;
  socklen_t length = sizeof(domain);
  if (::getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0 || domain == AF_UNIX) return;
  set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  // A machine that vanished is noticed after about a minute; its disk is free again then.
  set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, 30);
  set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, 3);
  set_option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, 60'000);
}

}  // namespace coppice::nbd
