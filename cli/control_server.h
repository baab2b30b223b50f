// ControlServer: the daemon's end of the control socket.
//
// Each connection is a coroutine of its own on the store's reactor, with one request at a time; a client that
// is slow, sends garbage, half a line or too long a line costs nobody but its own connection. Descriptors
// that come with a request are closed after it. Destroyed only after stop().
#pragma once

#include <set>
#include <string>
#include <vector>

#include "cli/dispatcher.h"
#include "cli/unique_fd.h"
#include "coppice/reactor.h"
#include "coppice/result.h"

namespace coppice::cli {

class ControlServer {
 public:
  ControlServer(Reactor& reactor, Dispatcher& dispatcher)
      : reactor_(reactor), dispatcher_(dispatcher), running_(reactor) {}

  // Serves clients of a listening socket. Returns at once.
  void start(UniqueFd listener);
  // Ends every connection; copies under way are called off, other verbs run to their end.
  Task<void> stop();

 private:
  struct Connection;
  Task<void> accept_clients();
  Task<void> serve(UniqueFd socket);
  Task<void> converse(Connection& connection);
  Task<bool> receive(Connection& connection);
  Task<bool> answer_line(Connection& connection, std::string line);
  Task<bool> send(Connection& connection, std::string text);
  [[nodiscard]] Call call_of(Connection& connection, std::string method, Json params);

  Reactor& reactor_;
  Dispatcher& dispatcher_;
  UniqueFd listener_;
  std::set<Connection*> connections_;
  bool stopping_ = false;
  WaitGroup running_;  // the accepting and the serving coroutines
};

}  // namespace coppice::cli
