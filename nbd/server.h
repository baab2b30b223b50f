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
#include <memory>
#include <optional>
#include <string>

#include "nbd/connection.h"
#include "nbd/exports.h"
#include "nbd/handshake.h"
#include "nbd/limits.h"
#include "nbd/listener.h"
#include "nbd/permissions.h"

namespace coppice::nbd {

struct ServerOptions {
  Limits limits{};
  std::shared_ptr<const TlsCredentials> credentials{};  // none: no TLS
  // Told one line for each thing worth a log. May be empty.
  std::function<void(const std::string&)> log{};
};

class Server {
 public:
  Server(Reactor& reactor, Exports& exports, ServerOptions options);

  // Any number, before start(). Answers where it listens: a port given by the system is filled in.
  // Off loopback TLS is required unless the spec says otherwise.
  Outcome<Endpoint> listen(const ListenSpec& spec);
  Outcome<Endpoint> listen(const Endpoint& endpoint) { return listen(ListenSpec{.endpoint = endpoint}); }
  void start();
  // Accepts nobody any more, answers what is in flight, flushes, closes. Once.
  Task<void> stop();

  [[nodiscard]] std::size_t connections() const { return sessions_.size(); }

 private:
  // A listener and what its clients get.
  struct Place {
    Listener listener;
    Permissions permissions;
    TlsMode tls = TlsMode::kOff;
    std::optional<PermittedExports> permitted{};
  };
  struct Session {
    enum class Phase : std::uint8_t { kHandshake, kTransmission, kEnding };
    int socket = -1;
    Place* place = nullptr;
    std::string peer;
    bool refused = false;  // there are too many: it is only told so
    Phase phase = Phase::kHandshake;
    Deadline deadline{};
    bool cut_off = false;
    Connection* connection = nullptr;   // in the transmission phase
    std::unique_ptr<TlsRelay> relay{};  // if it uses TLS
    std::uint64_t activity = 0;         // as it was last seen
    std::chrono::nanoseconds active_at{};
  };
  using SessionHandle = std::list<Session>::iterator;

  Outcome<TlsMode> tls_mode(const Listener& listener, const ListenSpec& spec) const;
  Task<void> accept_clients(Place& place);
  void admit(int socket, Place& place);
  void tell_refused(const std::string& peer);
  Task<void> serve(SessionHandle session);
  Task<void> converse(Session& session);
  [[nodiscard]] Handshake::Options handshake_options(Session& session);
  Task<void> transmit(Session& session, StreamReader& reader, int socket, Attached& attached);
  Task<void> end_tls(Session& session);
  // Cuts off clients past their deadline. Runs only while there is one to watch.
  void watch();
  Task<void> watch_deadlines();
  bool cut_off_late_ones();
  void cut_off_if_late(Session& session, std::chrono::nanoseconds now);
  void cut_off_if_idle(Session& session, std::chrono::nanoseconds now);
  void cut_off(Session& session, const std::string& why);
  // The end of a client whose device is wanted back: what it asked for is carried out, and not answered.
  void dismiss(Session& session, const std::string& why);
  void log(const std::string& line) const;
  void tell_no_space(const Session& session);

  Reactor& reactor_;
  Exports& exports_;
  ServerOptions options_;
  std::list<Place> places_;
  std::list<Session> sessions_;
  std::size_t refusing_ = 0;  // of the sessions
  OncePerBurst refusals_;
  OncePerBurst accept_failures_;
  bool stopping_ = false;
  bool watching_ = false;
  std::chrono::nanoseconds quiet_about_space_until_{};
  WaitGroup running_;  // the accepting, serving and watching coroutines
};

}  // namespace coppice::nbd
