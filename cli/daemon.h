// Daemon: a store served over NBD, as mounted trees and over its control socket, until a signal ends it; or,
// where it was started for a mount alone, until the last mount is gone.
//
// Everything runs on one reactor. The end is in order: no new clients, trees unmounted, requests in flight
// answered, disks flushed, the store closed; it takes at most 30 s, after which the process gives up rather
// than hang: the store is made to survive that.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/listeners.h"
#include "coppice/result.h"
#include "coppice/store.h"
#include "fuse/mounts.h"

namespace coppice::cli {

struct DaemonOptions {
  std::string store;
  bool null = false;  // no store: what is served is nbd::NullExports
  Listeners nbd;
  std::uint64_t cache_bytes = 0;
  bool conservative_flush = false;
  bool give_back = true;
  std::vector<unsigned> low_space = {};  // per cents of the pool that are told of
  std::string on_event = {};             // a command of the shell
  bool json = false;
  OpenMode mode = OpenMode::kReadWrite;
  // What it is there for; it ends with the last mount.
  std::optional<fuse::MountOptions> mount = {};
  // Told the directory when that is mounted, in place of what is printed.
  std::function<void(const std::string& directory)> mounted = {};
};

// Returns after the end. Logs to stderr; prints where it listens to stdout once it is ready: a line each, or
// with `json` {"listening":[uri]}.
Outcome<> run_daemon(const DaemonOptions& options);

}  // namespace coppice::cli
