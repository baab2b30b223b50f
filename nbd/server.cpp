#include "nbd/server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace coppice::nbd {

namespace {

constexpr std::chrono::milliseconds kWatchInterval{100};
// Out of descriptors or memory: others must let go first.
constexpr std::chrono::milliseconds kAcceptPause{100};
constexpr std::chrono::seconds kSpaceInterval{60};

bool nothing_left_to_accept_with(std::int32_t error) {
  return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
}

}  // namespace

Server::Server(Reactor& reactor, Exports& exports, ServerOptions options)
    : reactor_(reactor), exports_(exports), options_(std::move(options)), running_(reactor) {}

Outcome<Endpoint> Server::listen(const Endpoint& endpoint) {
  auto listener = Listener::open(endpoint);
  if (!listener) return std::unexpected(listener.error());
  listeners_.push_back(std::move(*listener));
  return listeners_.back().endpoint();
}

void Server::start() {
  for (const Listener& listener : listeners_) {
    running_.add();
    spawn(accept_clients(listener.socket()));
  }
}

Task<void> Server::stop() {
  stopping_ = true;
  for (Listener& listener : listeners_) listener.shut();
  const auto deadline = reactor_.now() + options_.drain_time;
  for (Session& session : sessions_) {
    if (session.connection != nullptr) {
      session.connection->stop();
      session.deadline.at = deadline;
    } else {
      ::shutdown(session.socket, SHUT_RDWR);
    }
  }
  if (!sessions_.empty()) watch();
  co_await running_.wait();
  listeners_.clear();
}

Task<void> Server::accept_clients(int listener) {
  while (!stopping_) {
    const std::int32_t accepted = co_await reactor_.accept(listener);
    if (accepted >= 0) {
      admit(accepted);
    } else if (nothing_left_to_accept_with(accepted)) {
      log(std::string("cannot accept a client: ") + std::strerror(-accepted));
      co_await sleep_for(reactor_, kAcceptPause);
    } else if (accepted == -EINVAL || accepted == -EBADF) {
      break;  // shut
    }
  }
  running_.done();
}

void Server::admit(int socket) {
  if (stopping_ || sessions_.size() >= options_.max_connections) {
    if (!stopping_) log("refused " + describe_peer(socket) + ": too many clients");
    ::close(socket);
    return;
  }
  tune_tcp(socket);
  sessions_.push_back({.socket = socket, .peer = describe_peer(socket)});
  running_.add();
  spawn(serve(std::prev(sessions_.end())));
}

Task<void> Server::serve(SessionHandle session) {
  co_await converse(*session);
  // Whatever the conversation held, its device above all, is gone by now.
  ::close(session->socket);
  sessions_.erase(session);
  running_.done();
}

Task<void> Server::converse(Session& session) {
  StreamReader reader(reactor_, session.socket);
  const auto leave = [this, &session](const std::string& why) { dismiss(session, why); };
  const Handshake::Options options{.holder = {session.peer, "NBD", false, leave},
                                   .patience = options_.handshake_patience};
  Handshake handshake(reactor_, session.socket, reader, exports_, session.deadline, options);
  watch();
  auto attached = co_await handshake.run();
  // A stop may have come while the disk was being opened.
  if (attached && !stopping_) co_await transmit(session, reader, *attached);
}

Task<void> Server::transmit(Session& session, StreamReader& reader, Attached& attached) {
  Connection connection(reactor_, session.socket, reader, *attached.device, attached.shape,
                        attached.contexts);
  connection.on_no_space = [this, &session] { tell_no_space(session); };
  session.connection = &connection;
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

void Server::watch() {
  if (watching_) return;
  watching_ = true;
  running_.add();
  spawn(watch_deadlines());
}

Task<void> Server::watch_deadlines() {
  while (cut_off_late_ones()) co_await sleep_for(reactor_, kWatchInterval);
  watching_ = false;
  running_.done();
}

bool Server::cut_off_late_ones() {
  bool any = false;
  const auto now = reactor_.now();
  for (Session& session : sessions_) {
    const bool handshaking = session.connection == nullptr;
    any |= handshaking || session.deadline.at.count() != 0;
    if (session.deadline.at.count() == 0 || session.deadline.at > now) continue;
    log("cut off " + session.peer +
        (handshaking ? ": handshake took too long" : ": did not take its replies"));
    session.deadline.at = {};
    ::shutdown(session.socket, SHUT_RDWR);
  }
  return any;
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
