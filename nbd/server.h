// Server: listens, and serves each client that connects until it leaves or the server is stopped.
//
// A client's device is destroyed (detached) before its socket is closed, so that a client that sees the end
// of the stream can rely on being detached. The exception is a client that doesn't take its replies during a
// stop: it is cut off once the drain time is over. Lives on the reactor's thread. Destroyed only after
// stop(), or if it was never started.
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <string>
#include <vector>

#include "nbd/connection.h"
#include "nbd/exports.h"
#include "nbd/handshake.h"
#include "nbd/listener.h"

namespace coppice::nbd {

struct ServerOptions {
  std::size_t max_connections = 128;
  std::chrono::milliseconds handshake_patience{10'000};  // for each step of a client
  std::chrono::milliseconds drain_time{10'000};          // for requests in flight at a stop
  // Told one line for each thing worth a log. May be empty.
  std::function<void(const std::string&)> log{};
};

class Server {
 public:
  Server(Reactor& reactor, Exports& exports, ServerOptions options);

  // Any number, before start(). Answers where it listens: a port given by the system is filled in.
  Outcome<Endpoint> listen(const Endpoint& endpoint);
  void start();
  // Accepts nobody any more, answers what is in flight, flushes, closes. Once.
  Task<void> stop();

  [[nodiscard]] std::size_t connections() const { return sessions_.size(); }

 private:
  struct Session {
    int socket = -1;
    std::string peer;
    Deadline deadline{};
    Connection* connection = nullptr;  // in the transmission phase
  };
  using SessionHandle = std::list<Session>::iterator;

  Task<void> accept_clients(int listener);
  void admit(int socket);
  Task<void> serve(SessionHandle session);
  Task<void> converse(Session& session);
  Task<void> transmit(Session& session, StreamReader& reader, Attached& attached);
  // Cuts off clients past their deadline. Runs only while there is one to watch.
  void watch();
  Task<void> watch_deadlines();
  bool cut_off_late_ones();
  // The end of a client whose device is wanted back: what it asked for is carried out, and not answered.
  void dismiss(Session& session, const std::string& why);
  void log(const std::string& line) const;
  void tell_no_space(const Session& session);

  Reactor& reactor_;
  Exports& exports_;
  ServerOptions options_;
  std::list<Listener> listeners_;
  std::list<Session> sessions_;
  bool stopping_ = false;
  bool watching_ = false;
  std::chrono::nanoseconds quiet_about_space_until_{};
  WaitGroup running_;  // the accepting, serving and watching coroutines
};

}  // namespace coppice::nbd
