// ListenSpec: one listener as an administrator writes it: where it is, whose its socket is, what its clients
// may see and do, and whether they use TLS.
//
//   nbd://HOST:PORT/?disks=web*,db&read-only&tls=require
//   nbd+unix:///?socket=PATH&mode=0660&owner=USER&group=GROUP
//   systemd:NAME?read-only                a socket that systemd passes; without a NAME, all that nobody else
//   names PATH                                  a Unix socket
//
// What isn't understood is refused, never ignored. Parsing is pure; any thread.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "coppice/result.h"
#include "nbd/endpoint.h"
#include "nbd/permissions.h"
#include "nbd/tls_mode.h"

namespace coppice::nbd {

// The file of a Unix socket. It is never open to more than that, not even for a moment.
struct SocketFile {
  mode_t mode = 0660;
  std::string owner = {};  // a name or a number; empty: who runs the server
  std::string group = {};
  bool operator==(const SocketFile&) const = default;
};

struct ListenSpec {
  Endpoint endpoint = UnixEndpoint{};
  SocketFile file = {};
  Permissions permissions = {};
  std::optional<TlsMode> tls = {};  // else what is right for the place
  bool passed = false;              // by systemd, under `passed_name`; the endpoint says nothing then
  std::string passed_name = {};
  int descriptor = -1;  // of the socket that was passed
};

Outcome<ListenSpec> parse_listen(const std::string& text);

}  // namespace coppice::nbd
