#include "nbd/socket_address.h"

#include <arpa/inet.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sys/un.h>

#include <charconv>
#include <cstring>
#include <optional>

namespace coppice::nbd {

namespace {

std::optional<unsigned> as_number(const std::string& text) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

sockaddr_storage address_of_socket(int socket) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0) return {};
  return address;
}

std::uint16_t port_of(const sockaddr_storage& address) {
  const in_port_t port = address.ss_family == AF_INET6
                             ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                             : reinterpret_cast<const sockaddr_in&>(address).sin_port;
  return ntohs(port);
}

bool is_loopback(const sockaddr_storage& address) {
  constexpr std::uint32_t kNet = 127;
  if (address.ss_family == AF_INET)
    return ntohl(reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr) >> 24 == kNet;
  const in6_addr& host = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
  return IN6_IS_ADDR_LOOPBACK(&host) || (IN6_IS_ADDR_V4MAPPED(&host) && host.s6_addr[12] == kNet);
}

Endpoint endpoint_of(const sockaddr_storage& address) {
  if (address.ss_family == AF_UNIX) {
    const auto& local = reinterpret_cast<const sockaddr_un&>(address);
    return UnixEndpoint{.path =
                            std::string(local.sun_path, ::strnlen(local.sun_path, sizeof(local.sun_path)))};
  }
  char host[INET6_ADDRSTRLEN] = "";
  const void* from = &reinterpret_cast<const sockaddr_in&>(address).sin_addr;
  if (address.ss_family == AF_INET6) from = &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
  ::inet_ntop(address.ss_family, from, host, sizeof(host));
  return TcpEndpoint{.host = host, .port = port_of(address)};
}

Outcome<uid_t> user_id(const std::string& name) {
  if (name.empty()) return kUnchanged;
  if (const auto number = as_number(name)) return *number;
  const passwd* found = ::getpwnam(name.c_str());
  if (found != nullptr) return found->pw_uid;
  return refuse(ErrorKind::kNotFound, "there is no user '" + name + "'; owner= takes a name or a number");
}

Outcome<gid_t> group_id(const std::string& name) {
  if (name.empty()) return kUnchanged;
  if (const auto number = as_number(name)) return *number;
  const group* found = ::getgrnam(name.c_str());
  if (found != nullptr) return found->gr_gid;
  return refuse(ErrorKind::kNotFound, "there is no group '" + name + "'; group= takes a name or a number");
}

}  // namespace coppice::nbd
