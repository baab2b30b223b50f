// StreamPump: carries bytes between a stream of the command ("-") and a socket that the daemon holds.
//
// The command, not the daemon, reads its standard input and writes its standard output: so neither a writer
// that never writes nor a reader that never reads can hold the daemon, and when the command is gone, so is
// the stream. One buffer, no thread: the owner polls on what wanted() names and calls step().
#pragma once

#include <poll.h>

#include <vector>

#include "cli/request.h"

namespace coppice::cli {

class StreamPump {
 public:
  // `own` is the command's stream, `other` the socket; both are borrowed.
  StreamPump(Direction direction, int own, int other);

  // The descriptor and event that step() waits for.
  [[nodiscard]] pollfd wanted() const;
  void step();
  // All is carried over, or one side has failed.
  [[nodiscard]] bool finished() const { return finished_; }
  // Why the command's own stream failed; 0: it did not. That the daemon closed its side says nothing: its
  // answer does.
  [[nodiscard]] int own_errno() const { return own_errno_; }

 private:
  void fill();
  void drain();
  void fail(bool own_side);

  Direction direction_;
  int source_;
  int sink_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool finished_ = false;
  int own_errno_ = 0;
};

}  // namespace coppice::cli
