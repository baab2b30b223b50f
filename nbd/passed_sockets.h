// The sockets that systemd passes to the process that it starts (sd_listen_fds(3)): LISTEN_PID, LISTEN_FDS,
// LISTEN_FDNAMES. Taken once, before there are threads; children don't get them.
#pragma once

#include <string>
#include <vector>

#include "coppice/result.h"

namespace coppice::nbd {

struct PassedSocket {
  int descriptor = -1;
  std::string name;  // FileDescriptorName= of its unit, else the unit's own name; "unknown" where nobody says
};

// None where they are somebody else's.
Outcome<std::vector<PassedSocket>> take_passed_sockets();

}  // namespace coppice::nbd
