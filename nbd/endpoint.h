// Endpoint: where a server listens, as people write it, and how clients are told.
//
// Accepted: nbd://HOST[:PORT], nbd+unix:///?socket=PATH, both with nbds for TLS, and a bare path of a Unix
// socket. What isn't understood is refused, never ignored. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "coppice/result.h"

namespace coppice::nbd {

inline constexpr std::uint16_t kDefaultPort = 10809;

struct UnixEndpoint {
  std::string path;
  bool tls = false;  // clients must use it
  bool operator==(const UnixEndpoint&) const = default;
};
struct TcpEndpoint {
  std::string host = "127.0.0.1";  // loopback unless asked otherwise
  std::uint16_t port = kDefaultPort;
  bool tls = false;
  bool operator==(const TcpEndpoint&) const = default;
};
using Endpoint = std::variant<UnixEndpoint, TcpEndpoint>;

Outcome<Endpoint> parse_endpoint(const std::string& text);
bool uses_tls(const Endpoint& endpoint);
void set_tls(Endpoint& endpoint, bool tls);
// The URI that a client opens; with an empty name, the one to list.
std::string export_uri(const Endpoint& endpoint, const std::string& export_name);

// Of a part of a URI: %41 is A. Nothing if a % stands before something else, or for a zero byte.
std::optional<std::string> percent_decoded(std::string_view text);

}  // namespace coppice::nbd
