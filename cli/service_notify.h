// Tells systemd, where it started us (NOTIFY_SOCKET), how the daemon is. Else does nothing. Any thread.
#pragma once

namespace coppice::cli {

// `state` is one assignment: "READY=1", "STOPPING=1".
void notify_service_manager(const char* state);

}  // namespace coppice::cli
