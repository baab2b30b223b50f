#include "nbd/listener.h"

#include <fcntl.h>
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
#include <utility>

#include "nbd/socket_address.h"

namespace coppice::nbd {

namespace {

constexpr int kBacklog = 1024;
constexpr mode_t kOwnerOnly = 0600;

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

void set_option(int socket, int level, int option, int value) {
  // Only ever a refinement: a socket that doesn't know it works all the same.
  static_cast<void>(::setsockopt(socket, level, option, &value, sizeof(value)));
}

}  // namespace

Outcome<Listener> Listener::open(const ListenSpec& spec) {
  if (spec.descriptor >= 0) return take_passed(spec);
  if (const auto* local = std::get_if<UnixEndpoint>(&spec.endpoint)) return open_unix(*local, spec.file);
  return open_tcp(std::get<TcpEndpoint>(spec.endpoint));
}

Outcome<Listener> Listener::take_passed(const ListenSpec& spec) {
  OwnedDescriptor socket(spec.descriptor);
  const std::string name = "the socket '" + spec.passed_name + "' that systemd passes";
  int listens = 0;
  int type = 0;
  socklen_t length = sizeof(listens);
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) != 0)
    return refuse(ErrorKind::kInvalid, "cannot listen on " + name + ": " + std::strerror(errno));
  length = sizeof(type);
  static_cast<void>(::getsockopt(socket.get(), SOL_SOCKET, SO_TYPE, &type, &length));
  const sockaddr_storage address = address_of_socket(socket.get());
  const bool known =
      address.ss_family == AF_UNIX || address.ss_family == AF_INET || address.ss_family == AF_INET6;
  if (listens == 0 || type != SOCK_STREAM || !known) {
    return refuse(ErrorKind::kInvalid,
                  "cannot listen on " + name +
                      ": it is no listening stream socket; its unit needs ListenStream= and Accept=no");
  }
  // One that doesn't wait would have us ask again and again.
  const int flags = ::fcntl(socket.get(), F_GETFL);
  if (flags >= 0) static_cast<void>(::fcntl(socket.get(), F_SETFL, flags & ~O_NONBLOCK));
  Listener listener(socket.take(), endpoint_of(address));
  listener.passed_ = true;
  return listener;
}

Outcome<Listener> Listener::open_unix(const UnixEndpoint& endpoint, const SocketFile& file) {
  if (auto cleared = clear_path(endpoint); !cleared) return std::unexpected(cleared.error());
  const auto owner = user_id(file.owner);
  if (!owner) return cannot_listen(endpoint, owner.error().kind, owner.error().message);
  const auto owning_group = group_id(file.group);
  if (!owning_group) return cannot_listen(endpoint, owning_group.error().kind, owning_group.error().message);
  OwnedDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket.get() < 0) return cannot_listen(endpoint, errno);
  // The file takes its mode from the descriptor, less the umask, and so is never open to others, not even
  // for a moment; it gets what it shall have when it is whose it shall be, and nobody connects before
  // listen().
  static_cast<void>(::fchmod(socket.get(), file.mode & kOwnerOnly));
  const sockaddr_un address = address_of(endpoint);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return cannot_listen(endpoint, errno);
  }
  const char* path = endpoint.path.c_str();
  const bool changes_hands = *owner != kUnchanged || *owning_group != kUnchanged;
  if (changes_hands && ::lchown(path, *owner, *owning_group) != 0) {
    const std::string reason = std::strerror(errno);
    ::unlink(path);
    return cannot_listen(
        endpoint, ErrorKind::kIo,
        "giving it to its owner or group: " + reason + "; root may, others only to a group of theirs");
  }
  struct stat status{};
  if (::chmod(path, file.mode) != 0 || ::lstat(path, &status) != 0 || ::listen(socket.get(), kBacklog) != 0) {
    const int error = errno;
    ::unlink(path);
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
    // So that [::] and 0.0.0.0 go beside each other, each with permissions of its own.
    if (address->ai_family == AF_INET6) set_option(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (::bind(socket.get(), address->ai_addr, address->ai_addrlen) == 0 &&
        ::listen(socket.get(), kBacklog) == 0) {
      const std::uint16_t port = port_of(address_of_socket(socket.get()));
      return Listener(socket.take(), TcpEndpoint{.host = endpoint.host, .port = port, .tls = endpoint.tls});
    }
    error = errno;
  }
  return cannot_listen(endpoint, error);
}

Listener::Listener(Listener&& other) noexcept
    : socket_(std::exchange(other.socket_, -1)),
      endpoint_(std::move(other.endpoint_)),
      passed_(other.passed_),
      device_(other.device_),
      inode_(other.inode_) {}

Listener::~Listener() {
  if (socket_ < 0) return;
  ::close(socket_);
  const auto* local = std::get_if<UnixEndpoint>(&endpoint_);
  if (local == nullptr || inode_ == 0) return;
  struct stat status{};
  if (::lstat(local->path.c_str(), &status) != 0) return;
  if (status.st_dev == device_ && status.st_ino == inode_) ::unlink(local->path.c_str());
}

bool Listener::is_local() const {
  const sockaddr_storage address = address_of_socket(socket_);
  return address.ss_family == AF_UNIX || is_loopback(address);
}

void Listener::shut() {
  if (!passed_) {
    ::shutdown(socket_, SHUT_RDWR);
    return;
  }
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &length) != 0) return;
  const OwnedDescriptor waker(::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  // Where this fails the queue is full, and so the accept is not waiting.
  static_cast<void>(::connect(waker.get(), reinterpret_cast<const sockaddr*>(&address), length));
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
