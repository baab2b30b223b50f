#include "nbd/server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace coppice::nbd {

namespace {

// Out of descriptors or memory: others must let go first.
constexpr std::chrono::milliseconds kAcceptPause{100};
constexpr std::chrono::seconds kSpaceInterval{60};

bool nothing_left_to_accept_with(std::int32_t error) {
  return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
}

}  // namespace

Server::Server(Reactor& reactor, Exports& exports, ServerOptions options)
    : reactor_(reactor), exports_(exports), options_(std::move(options)), running_(reactor) {}

Outcome<Endpoint> Server::listen(const ListenSpec& spec) {
  auto listener = Listener::open(spec);
  if (!listener) return std::unexpected(listener.error());
  const auto tls = tls_mode(*listener, spec);
  if (!tls) return std::unexpected(tls.error());
  Place& place = places_.emplace_back(std::move(*listener), spec.permissions, *tls);
  if (place.permissions.restrict()) place.permitted.emplace(exports_, place.permissions);
  Endpoint endpoint = place.listener.endpoint();
  if (*tls == TlsMode::kOff && !place.listener.is_local())
    log(export_uri(endpoint, "") + ": without TLS: who reaches it can read the disks, and change them");
  set_tls(endpoint, *tls == TlsMode::kRequire);
  return endpoint;
}

// What the spec says; else it is offered where there is something to offer, and off loopback nothing goes
// without.
Outcome<TlsMode> Server::tls_mode(const Listener& listener, const ListenSpec& spec) const {
  const TlsMode at_home = options_.credentials ? TlsMode::kOn : TlsMode::kOff;
  const TlsMode mode = spec.tls.value_or(listener.is_local() ? at_home : TlsMode::kRequire);
  if (mode == TlsMode::kOff || options_.credentials) return mode;
  const std::string uri = export_uri(listener.endpoint(), "");
  const std::string why = spec.tls ? "it is to use TLS" : "off loopback TLS is required";
  return refuse(ErrorKind::kInvalid,
                "cannot listen on " + uri + ": " + why +
                    ", and there are no keys: give --tls-certificates or --tls-psk, or write " +
                    "tls=off behind its '?' to do without");
}

void Server::start() {
  for (Place& place : places_) {
    running_.add();
    spawn(accept_clients(place));
  }
}

Task<void> Server::stop() {
  stopping_ = true;
  for (Place& place : places_) place.listener.shut();
  const auto deadline = reactor_.now() + options_.limits.drain;
  for (Session& session : sessions_) {
    if (session.connection != nullptr) {
      session.connection->stop();
      session.deadline.at = deadline;
    } else if (session.phase == Session::Phase::kHandshake) {
      ::shutdown(session.socket, SHUT_RDWR);
    }
  }
  if (!sessions_.empty()) watch();
  co_await running_.wait();
  places_.clear();
}

Task<void> Server::accept_clients(Place& place) {
  const int listener = place.listener.socket();
  while (!stopping_) {
    const std::int32_t accepted = co_await reactor_.accept(listener);
    if (accepted >= 0) {
      admit(accepted, place);
    } else if (nothing_left_to_accept_with(accepted)) {
      if (accept_failures_.note(reactor_.now()))
        log(std::string("cannot accept a client: ") + std::strerror(-accepted));
      co_await sleep_for(reactor_, kAcceptPause);
    } else if (accepted == -EINVAL || accepted == -EBADF) {
      break;  // shut
    }
  }
  running_.done();
}

void Server::admit(int socket, Place& place) {
  const bool refused = sessions_.size() - refusing_ >= options_.limits.max_connections;
  if (stopping_ || (refused && refusing_ >= kMaxRefusals)) {
    if (!stopping_) tell_refused(describe_peer(socket));
    ::close(socket);
    return;
  }
  tune_tcp(socket);
  Session& session = sessions_.emplace_back();
  session.socket = socket;
  session.place = &place;
  session.peer = describe_peer(socket);
  session.refused = refused;
  if (refused) {
    ++refusing_;
    tell_refused(session.peer);
  }
  running_.add();
  spawn(serve(std::prev(sessions_.end())));
}

void Server::tell_refused(const std::string& peer) {
  const auto left_out = refusals_.note(reactor_.now());
  if (!left_out) return;
  const std::string before = *left_out == 0 ? "" : ", and " + std::to_string(*left_out) + " before it";
  log("refused " + peer + before + ": " + std::to_string(options_.limits.max_connections) +
      " clients are here; serve --max-connections allows more");
}

Task<void> Server::serve(SessionHandle session) {
  co_await converse(*session);
  // Whatever the conversation held, its device above all, is gone by now.
  if (session->relay) co_await end_tls(*session);
  ::close(session->socket);
  if (session->refused) --refusing_;
  sessions_.erase(session);
  running_.done();
}

Handshake::Options Server::handshake_options(Session& session) {
  const auto leave = [this, &session](const std::string& why) { dismiss(session, why); };
  Handshake::Options options{.holder = {session.peer, "NBD", false, leave},
                             .patience = options_.limits.handshake_step,
                             .whole = options_.limits.handshake_whole};
  options.tls = {
      .mode = session.place->tls, .credentials = options_.credentials.get(), .relay = &session.relay};
  if (session.refused) {
    options.refusal = "the server has " + std::to_string(options_.limits.max_connections) +
                      " clients, and takes no more: try again later";
  }
  return options;
}

Task<void> Server::converse(Session& session) {
  StreamReader reader(reactor_, session.socket);
  Exports& exports = session.place->permitted ? *session.place->permitted : exports_;
  Handshake handshake(reactor_, session.socket, reader, exports, session.deadline,
                      handshake_options(session));
  watch();
  auto attached = co_await handshake.run();
  const int socket = handshake.socket();
  // A stop may have come while the disk was being opened.
  if (attached && !stopping_) co_await transmit(session, reader, socket, *attached);
  if (!attached && !session.cut_off && !handshake.complaint().empty())
    log("turned away " + session.peer + ": " + handshake.complaint());
}

// The thread may have replies that the client is yet to take; one that doesn't is cut off.
Task<void> Server::end_tls(Session& session) {
  session.phase = Session::Phase::kEnding;
  session.deadline.at = reactor_.now() + options_.limits.drain;
  watch();
  const std::string problem = co_await session.relay->end(reactor_);
  session.deadline = {};
  if (!problem.empty() && !session.cut_off) log("TLS with " + session.peer + " failed: " + problem);
  session.relay.reset();
}

Task<void> Server::transmit(Session& session, StreamReader& reader, int socket, Attached& attached) {
  Connection connection(reactor_, socket, reader, *attached.device, attached.shape, attached.contexts);
  connection.on_no_space = [this, &session] { tell_no_space(session); };
  session.connection = &connection;
  session.phase = Session::Phase::kTransmission;
  session.active_at = reactor_.now();
  co_await connection.run();
  session.connection = nullptr;
  session.deadline = {};
  if (stopping_ && !attached.shape.read_only) {
    const Result<> flushed = co_await attached.device->flush();
    if (!flushed) log("the last flush for " + session.peer + " failed: " + flushed.error().text);
  }
}

void Server::dismiss(Session& session, const std::string& why) {
  log("closing the connection of " + session.peer + ": " + why);
  if (session.connection != nullptr) session.connection->stop();
  ::shutdown(session.socket, SHUT_RDWR);
}

// A full pool refuses every write: one line a minute is enough.
void Server::tell_no_space(const Session& session) {
  const auto now = reactor_.now();
  if (now < quiet_about_space_until_) return;
  quiet_about_space_until_ = now + kSpaceInterval;
  log("no space for a write of " + session.peer +
      ": it was told ENOSPC; remove something, add space, or look at its quota");
}

void Server::log(const std::string& line) const {
  if (options_.log) options_.log(line);
}

}  // namespace coppice::nbd
