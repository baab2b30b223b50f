#include "cli/listeners.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "cli/store_directory.h"
#include "nbd/passed_sockets.h"

namespace coppice::cli {
namespace {

constexpr std::size_t kMostConnections = 100'000;
// A client's socket; with TLS its relay's two and what wakes us at its end.
constexpr std::size_t kDescriptors = 1;
constexpr std::size_t kTlsDescriptors = 4;
constexpr std::size_t kOtherDescriptors = 512;  // the map's files above all

std::optional<std::uint64_t> number_of(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// "30s", "10m", "2h"; a day at most.
std::optional<std::chrono::milliseconds> wait_of(const std::string& text) {
  constexpr std::uint64_t kDay = 86'400;
  if (text.empty()) return std::nullopt;
  const auto unit = std::string_view("smh").find(text.back());
  const auto number = number_of(std::string_view(text).substr(0, text.size() - 1));
  if (unit == std::string_view::npos || !number || *number == 0 || *number > kDay) return std::nullopt;
  const std::uint64_t seconds = *number * (unit == 0 ? 1 : unit == 1 ? 60 : 3600);
  if (seconds > kDay) return std::nullopt;
  return std::chrono::seconds(seconds);
}

Outcome<nbd::Limits> limits_of(const ListenOptions& options) {
  nbd::Limits limits;
  const auto most = number_of(options.max_connections);
  if (!most || *most == 0 || *most > kMostConnections) {
    return refuse(ErrorKind::kInvalid, fmt::format("--max-connections: '{}' is no number from 1 to {}",
                                                   options.max_connections, kMostConnections));
  }
  limits.max_connections = *most;
  const auto handshake = wait_of(options.handshake_timeout);
  if (!handshake) {
    return refuse(ErrorKind::kInvalid, "--handshake-timeout: '" + options.handshake_timeout +
                                           "' is no time from 1s to 24h: give it as 60s, 5m or 1h");
  }
  limits.handshake_whole = *handshake;
  if (options.idle_timeout == "off") return limits;
  const auto idle = wait_of(options.idle_timeout);
  if (!idle) {
    return refuse(ErrorKind::kInvalid, "--idle-timeout: '" + options.idle_timeout +
                                           "' is neither off nor a time from 1s to 24h, such as 30m");
  }
  limits.idle = *idle;
  return limits;
}

Outcome<nbd::ListenSpec> spec_of(const std::string& text) {
  auto spec = nbd::parse_listen(text);
  if (!spec) return spec;
  // Clients are told this path, and stand in other folders.
  auto* local = std::get_if<nbd::UnixEndpoint>(&spec->endpoint);
  if (local == nullptr || spec->passed) return spec;
  local->path = absolute_path(local->path);
  const auto still_fits = nbd::parse_endpoint(local->path);
  if (!still_fits) return std::unexpected(still_fits.error());
  return spec;
}

Outcome<> give_socket(std::vector<nbd::ListenSpec>& specs, const nbd::PassedSocket& socket) {
  const auto named = [&socket](const nbd::ListenSpec& spec) {
    return spec.passed && spec.passed_name == socket.name;
  };
  const auto takes_others = [](const nbd::ListenSpec& spec) {
    return spec.passed && spec.passed_name.empty();
  };
  auto found = std::ranges::find_if(specs, named);
  if (found == specs.end()) found = std::ranges::find_if(specs, takes_others);
  if (found == specs.end()) {
    return refuse(ErrorKind::kInvalid, "systemd passes the socket '" + socket.name +
                                           "', and no --listen names it: add --listen 'systemd:" +
                                           socket.name + "', with its permissions behind a '?'");
  }
  nbd::ListenSpec spec = *found;
  spec.passed_name = socket.name;
  spec.descriptor = socket.descriptor;
  specs.push_back(std::move(spec));
  return {};
}

// Each socket that was passed becomes a listener of its own, by the first spec that names it.
Outcome<> give_sockets(std::vector<nbd::ListenSpec>& specs, const std::vector<nbd::PassedSocket>& sockets) {
  for (const nbd::PassedSocket& socket : sockets) {
    if (auto given = give_socket(specs, socket); !given) return given;
  }
  const auto waits = [](const nbd::ListenSpec& spec) { return spec.passed && spec.descriptor < 0; };
  for (const nbd::ListenSpec& spec : specs) {
    const auto used = [&spec](const nbd::PassedSocket& socket) {
      return spec.passed_name.empty() || socket.name == spec.passed_name;
    };
    if (!waits(spec) || std::ranges::any_of(sockets, used)) continue;
    return refuse(ErrorKind::kInvalid, "cannot listen on 'systemd:" + spec.passed_name +
                                           "': systemd passes no such socket: look at its unit's "
                                           "ListenStream= and FileDescriptorName=");
  }
  std::erase_if(specs, waits);
  return {};
}

Outcome<> load_keys(Listeners& listeners, const ListenOptions& options) {
  const nbd::TlsOptions tls{.certificates = options.tls_certificates,
                            .psk_file = options.tls_psk,
                            .verify_peer = options.tls_verify_peer};
  if (tls.certificates.empty() && tls.psk_file.empty() && !tls.verify_peer) return {};
  auto loaded = nbd::TlsCredentials::load(tls);
  if (!loaded) return std::unexpected(loaded.error());
  listeners.credentials = std::move(*loaded);
  const auto off = [](const nbd::ListenSpec& spec) { return spec.tls == nbd::TlsMode::kOff; };
  if (!std::ranges::all_of(listeners.specs, off)) return {};
  return refuse(ErrorKind::kInvalid,
                "there are keys for TLS, and each listener has tls=off: leave one of both out");
}

}  // namespace

void add_listen_options(Parser& parser, ListenOptions& options) {
  parser
      .repeated_option(
          {"--listen", "URI",
           "nbd+unix:///?socket=PATH, nbd://HOST:PORT, nbds:// for TLS, or systemd:NAME for a socket that "
           "systemd passes; repeat it for more (else what systemd passes, else nbd.sock in the store). "
           "Behind a '?', joined by '&': disks=web*,db (only these are there), read-only, "
           "tls=off|on|require, and of a Unix socket mode=0660, owner=USER, group=GROUP"},
          options.listen)
      .option({"--tls-certificates", "DIR",
               "For TLS: a folder with server-cert.pem and server-key.pem. Off loopback TLS is required, "
               "unless the "
               "listener says tls=off"},
              options.tls_certificates)
      .option({"--tls-psk", "FILE", "For TLS: keys of users, as psktool writes them"}, options.tls_psk)
      .flag("--tls-verify-peer", options.tls_verify_peer,
            "Clients show a certificate of ca-cert.pem's, which is in the folder of --tls-certificates")
      .option({"--max-connections", "N", "More clients than that are turned away"}, options.max_connections)
      .option({"--handshake-timeout", "TIME", "How long a client may take to choose its disk"},
              options.handshake_timeout)
      .option({"--idle-timeout", "TIME", "Clients that ask for nothing so long are cut off; 30m, or off"},
              options.idle_timeout);
}

Outcome<Listeners> listeners_of(const ListenOptions& options, const std::string& store) {
  Listeners listeners;
  auto limits = limits_of(options);
  if (!limits) return std::unexpected(limits.error());
  listeners.limits = *limits;
  auto sockets = nbd::take_passed_sockets();
  if (!sockets) return std::unexpected(sockets.error());
  auto listen = options.listen;
  if (listen.empty()) listen.push_back(sockets->empty() ? default_nbd_socket(store) : "systemd:");
  for (const auto& text : listen) {
    auto spec = spec_of(text);
    if (!spec) return std::unexpected(spec.error());
    listeners.specs.push_back(std::move(*spec));
  }
  if (auto given = give_sockets(listeners.specs, *sockets); !given) return std::unexpected(given.error());
  if (auto loaded = load_keys(listeners, options); !loaded) return std::unexpected(loaded.error());
  return listeners;
}

std::string raise_descriptor_limit(const Listeners& listeners) {
  const std::size_t each = listeners.credentials ? kTlsDescriptors : kDescriptors;
  const rlim_t wanted = listeners.limits.max_connections * each + kOtherDescriptors;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return "";
  limit.rlim_cur = std::min(limit.rlim_max, wanted);
  if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= wanted) return "";
  return fmt::format(
      "{} clients may need {} descriptors, and this process may open {}: raise LimitNOFILE= (ulimit -n), or "
      "lower "
      "--max-connections",
      listeners.limits.max_connections, wanted, limit.rlim_cur);
}

}  // namespace coppice::cli
