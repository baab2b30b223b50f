// The control socket's place in a store, and the two ends of it.
//
// Blocking system calls. The address goes through the folder's descriptor, so a store may stand deeper than
// the 107 bytes that a Unix address holds.
#pragma once

#include <string>

#include "cli/unique_fd.h"
#include "coppice/result.h"

namespace coppice::cli {

std::string control_path(const std::string& store);
// An invalid descriptor if nobody listens.
Outcome<UniqueFd> connect_control(const std::string& store);
// Only for who holds the store's lock: a socket that is still there is then a dead daemon's, and is replaced.
// The socket is its owner's alone.
Outcome<UniqueFd> listen_control(const std::string& store);
void remove_control(const std::string& store);

}  // namespace coppice::cli
