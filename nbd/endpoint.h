// Endpoint: where a server listens, as people write it, and how clients are told.
//
// Accepted: nbd://HOST[:PORT], nbd+unix:///?socket=PATH, and a bare path of a Unix socket. What isn't
// understood is refused, never ignored. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "coppice/result.h"

namespace coppice::nbd {

inline constexpr std::uint16_t kDefaultPort = 10809;

struct UnixEndpoint {
  std::string path;
  bool operator==(const UnixEndpoint&) const = default;
};
struct TcpEndpoint {
  std::string host = "127.0.0.1";  // loopback unless asked otherwise
  std::uint16_t port = kDefaultPort;
  bool operator==(const TcpEndpoint&) const = default;
};
using Endpoint = std::variant<UnixEndpoint, TcpEndpoint>;

Outcome<Endpoint> parse_endpoint(const std::string& text);
// The URI that a client opens; with an empty name, the one to list.
std::string export_uri(const Endpoint& endpoint, const std::string& export_name);

}  // namespace coppice::nbd
