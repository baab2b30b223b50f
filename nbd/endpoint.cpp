#include "nbd/endpoint.h"

#include <sys/un.h>

#include <charconv>
#include <tuple>

namespace coppice::nbd {

namespace {

constexpr std::string_view kUnixScheme = "nbd+unix://";
constexpr std::string_view kTcpScheme = "nbd://";
constexpr std::string_view kTlsUnixScheme = "nbds+unix://";
constexpr std::string_view kTlsTcpScheme = "nbds://";

std::unexpected<Failure> not_understood(const std::string& text, std::string_view reason) {
  return refuse(ErrorKind::kInvalid, "cannot listen on '" + text + "': " + std::string(reason) +
                                         "; write nbd://HOST:PORT, nbd+unix:///?socket=PATH or a path");
}

// `kept` stays as it is besides letters, digits and -._~ .
std::string percent_encoded(std::string_view text, std::string_view kept) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string encoded;
  for (const char letter : text) {
    const auto value = static_cast<unsigned char>(letter);
    const bool plain = (letter >= '0' && letter <= '9') || (letter >= 'A' && letter <= 'Z') ||
                       (letter >= 'a' && letter <= 'z') || std::string_view("-._~").contains(letter) ||
                       kept.contains(letter);
    if (plain) {
      encoded += letter;
    } else {
      encoded += {'%', kHex[value >> 4], kHex[value & 15]};
    }
  }
  return encoded;
}

Outcome<Endpoint> unix_endpoint(const std::string& text, std::string path) {
  if (path.empty()) return not_understood(text, "the path of the socket is empty");
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    return not_understood(text, "the path of a Unix socket has at most 107 bytes");
  }
  return UnixEndpoint{.path = std::move(path)};
}

Outcome<Endpoint> parse_unix(const std::string& text, std::string_view rest) {
  constexpr std::string_view kQuery = "?socket=";
  if (rest.starts_with('/')) rest.remove_prefix(1);
  if (!rest.starts_with(kQuery)) return not_understood(text, "there must be nothing but ?socket=PATH");
  rest.remove_prefix(kQuery.size());
  if (rest.find_first_of("&#") != rest.npos) return not_understood(text, "there is more than a socket");
  auto path = percent_decoded(rest);
  if (!path) return not_understood(text, "a % stands before two hexadecimal digits");
  return unix_endpoint(text, std::move(*path));
}

Outcome<Endpoint> parse_tcp(const std::string& text, std::string_view rest) {
  if (rest.ends_with('/')) rest.remove_suffix(1);
  if (rest.find_first_of("/?#@") != rest.npos)
    return not_understood(text, "there is more than a host and a port");
  TcpEndpoint endpoint;
  std::string_view port;
  const auto bracket = rest.starts_with('[') ? rest.find(']') : rest.npos;
  if (rest.starts_with('[') && bracket == rest.npos) return not_understood(text, "a ] is missing");
  const auto colon = rest.find(':', bracket == rest.npos ? 0 : bracket);
  if (colon != rest.npos) port = rest.substr(colon + 1);
  std::string_view host = rest.substr(0, colon);
  if (bracket != rest.npos) {
    if (host.size() != bracket + 1) return not_understood(text, "only a port may follow the ]");
    host = host.substr(1, bracket - 1);
  }
  if (!host.empty()) endpoint.host = host;
  if (colon == rest.npos) return endpoint;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
  if (error != std::errc{} || end != port.data() + port.size()) {
    return not_understood(text, "the port is a number up to 65535");
  }
  return endpoint;
}

}  // namespace

Outcome<Endpoint> parse_endpoint(const std::string& text) {
  for (const auto& [scheme, parse, tls] : {std::tuple{kUnixScheme, &parse_unix, false},
                                           {kTcpScheme, &parse_tcp, false},
                                           {kTlsUnixScheme, &parse_unix, true},
                                           {kTlsTcpScheme, &parse_tcp, true}}) {
    if (!text.starts_with(scheme)) continue;
    auto endpoint = parse(text, std::string_view(text).substr(scheme.size()));
    if (endpoint) set_tls(*endpoint, tls);
    return endpoint;
  }
  if (text.find("://") != text.npos) return not_understood(text, "the scheme is not known");
  return unix_endpoint(text, text);
}

bool uses_tls(const Endpoint& endpoint) {
  return std::visit([](const auto& each) { return each.tls; }, endpoint);
}

void set_tls(Endpoint& endpoint, bool tls) {
  std::visit([tls](auto& each) { each.tls = tls; }, endpoint);
}

std::string export_uri(const Endpoint& endpoint, const std::string& export_name) {
  const std::string name = percent_encoded(export_name, "@:/");
  if (const auto* local = std::get_if<UnixEndpoint>(&endpoint)) {
    return std::string(local->tls ? kTlsUnixScheme : kUnixScheme) + "/" + name +
           "?socket=" + percent_encoded(local->path, "/:@");
  }
  const auto& remote = std::get<TcpEndpoint>(endpoint);
  const bool bare_ipv6 = remote.host.find(':') != remote.host.npos;
  const std::string host = bare_ipv6 ? "[" + remote.host + "]" : remote.host;
  return std::string(remote.tls ? kTlsTcpScheme : kTcpScheme) + host + ":" + std::to_string(remote.port) +
         "/" + name;
}

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string plain;
  for (std::size_t index = 0; index < text.size(); ++index) {
    if (text[index] != '%') {
      plain += text[index];
      continue;
    }
    unsigned value = 0;
    const char* first = text.data() + index + 1;
    if (text.size() - index < 3) return std::nullopt;
    if (std::from_chars(first, first + 2, value, 16).ptr != first + 2 || value == 0) return std::nullopt;
    plain += static_cast<char>(value);
    index += 2;
  }
  return plain;
}

}  // namespace coppice::nbd
