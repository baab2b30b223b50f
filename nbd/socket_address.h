// Where a socket stands, and whose its file may be. System calls and name services; they may block shortly.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstdint>
#include <string>

#include "coppice/result.h"
#include "nbd/endpoint.h"

namespace coppice::nbd {

// All zeroes if it has none.
sockaddr_storage address_of_socket(int socket);
std::uint16_t port_of(const sockaddr_storage& address);
bool is_loopback(const sockaddr_storage& address);
// As clients are told of a socket that somebody else has bound.
Endpoint endpoint_of(const sockaddr_storage& address);

// What chown takes for "as it is".
inline constexpr unsigned kUnchanged = static_cast<unsigned>(-1);
// Of a name or a number; of an empty name kUnchanged.
Outcome<uid_t> user_id(const std::string& name);
Outcome<gid_t> group_id(const std::string& name);

}  // namespace coppice::nbd
