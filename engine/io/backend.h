// Backend: how a Reactor's system calls are made. By io_uring, or, where that is forbidden, by hand.
//
// A submitted call is completed from turn(), never from submit(), whichever backend it is. Threads: all
// members are used on the reactor's. A call that is pending when the backend goes is never completed.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "coppice/reactor.h"
#include "coppice/result.h"

namespace coppice {

class Backend {
 public:
  virtual ~Backend() = default;
  virtual void submit(SystemCall& call) = 0;
  // Calls on it, which will be many, may be prepared for. Forgotten before it is closed.
  virtual void know_file(int descriptor) { (void)descriptor; }
  virtual void forget_file(int descriptor) { (void)descriptor; }
  // Starts what was submitted, waits for a completion at most that long (forever without a limit), and
  // completes what is done, a bounded number of calls. A sync that is the only call to a device may be made
  // here, and is waited for however long it takes.
  virtual void turn(std::optional<std::chrono::nanoseconds> limit) = 0;
};

Result<std::unique_ptr<Backend>> make_uring_backend();
Result<std::unique_ptr<Backend>> make_posix_backend();

// The one place that chooses. COPPICE_IO=uring insists on io_uring and COPPICE_IO=posix does without it;
// otherwise io_uring is used where it can be had, and `notice` is told where it can't.
Result<std::unique_ptr<Backend>> choose_backend(const std::function<void(const std::string&)>& notice);

}  // namespace coppice
