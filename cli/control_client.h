// ControlClient: a command's end of the control socket.
//
// Blocking, one call at a time. That a daemon listens is known only when it has answered "hello": one that
// is being killed still accepts.
#pragma once

#include <optional>
#include <string>

#include "cli/request.h"
#include "cli/unique_fd.h"
#include "coppice/result.h"

namespace coppice::cli {

class StreamPump;

class ControlClient {
 public:
  // Nothing if no daemon answers for this store.
  static Outcome<std::optional<ControlClient>> connect(const std::string& store);

  Outcome<Json> call(const Request& request);
  [[nodiscard]] std::uint64_t daemon_pid() const { return daemon_pid_; }

 private:
  ControlClient(std::string store, UniqueFd socket) : store_(std::move(store)), socket_(std::move(socket)) {}
  // False: the daemon is going away.
  Outcome<bool> greet();
  Outcome<Json> call_with_stream(const Request& request);
  Outcome<> send(const Request& request, int file);
  Outcome<Json> wait_for_answer(const Request& request, StreamPump* pump);
  Outcome<> wait_until_ready(StreamPump* pump);
  Outcome<> receive();
  std::optional<std::string> take_line();
  [[nodiscard]] std::unexpected<Failure> lost() const;

  std::string store_;
  UniqueFd socket_;
  std::string received_;
  std::uint64_t next_id_ = 1;
  std::uint64_t daemon_pid_ = 0;
};

}  // namespace coppice::cli
