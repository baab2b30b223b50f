// Daemon: a store served over NBD and its control socket until a signal ends it.
//
// Everything runs on one reactor. The end is in order: no new clients, requests in flight answered, disks
// flushed, the store closed; it takes at most 30 s, after which the process gives up rather than hang: the
// store is made to survive that.
#pragma once

#include <string>
#include <vector>

#include "coppice/result.h"
#include "coppice/store.h"
#include "nbd/endpoint.h"

namespace coppice::cli {

struct DaemonOptions {
  std::string store;
  std::vector<nbd::Endpoint> endpoints;
  std::uint64_t cache_bytes = 0;
  bool conservative_flush = false;
  bool give_back = true;
  std::vector<unsigned> low_space;  // per cents of the pool that are told of
  std::string on_event;             // a command of the shell
  bool json = false;
  OpenMode mode = OpenMode::kReadWrite;
};

// Returns after the end. Logs to stderr; prints where it listens to stdout once it is ready: a line each, or
// with `json` {"listening":[uri]}.
Outcome<> run_daemon(const DaemonOptions& options);

}  // namespace coppice::cli
