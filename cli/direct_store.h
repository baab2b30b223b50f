// DirectStore: a store that this process has opened because no daemon holds it.
//
// Owns the reactor, the store and a dispatcher; calls run the reactor until they are answered. close() must
// have been called, and have returned, before the end: what it says is part of the verb's outcome.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "cli/dispatcher.h"
#include "cli/request.h"

namespace coppice::cli {

class DirectStore {
 public:
  using Notice = std::function<void(const std::string&)>;
  // Fails with kBusy if another process holds the store for longer than `lock_wait`.
  static Outcome<DirectStore> open(const std::string& directory, OpenMode mode,
                                   std::chrono::seconds lock_wait, Notice notice);

  Outcome<Json> call(const Request& request);
  Outcome<> close();

 private:
  std::unique_ptr<Reactor> reactor_;  // outlives what stands on it
  std::unique_ptr<Store> store_;
  std::unique_ptr<Dispatcher> dispatcher_;
  bool reclaim_due_ = false;
};

}  // namespace coppice::cli
