// The part of the server that looks at who is late, and cuts it off.
#include <sys/socket.h>

#include "nbd/server.h"

namespace coppice::nbd {

namespace {

constexpr std::chrono::milliseconds kWatchInterval{100};

}  // namespace

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
    const bool watched = session.connection == nullptr || options_.limits.idle.count() != 0;
    any |= watched || session.deadline.at.count() != 0;
    cut_off_if_late(session, now);
    if (session.connection != nullptr) cut_off_if_idle(session, now);
  }
  return any;
}

void Server::cut_off_if_late(Session& session, std::chrono::nanoseconds now) {
  if (session.deadline.at.count() == 0 || session.deadline.at > now) return;
  cut_off(session, session.phase == Session::Phase::kHandshake ? "handshake took too long"
                                                               : "did not take its replies");
}

void Server::cut_off_if_idle(Session& session, std::chrono::nanoseconds now) {
  if (options_.limits.idle.count() == 0 || stopping_) return;
  const bool moved = session.activity != session.connection->activity();
  if (moved || !session.connection->waits_for_client()) {
    session.activity = session.connection->activity();
    session.active_at = now;
  } else if (now - session.active_at > options_.limits.idle && !session.cut_off) {
    cut_off(session, "idle for longer than serve --idle-timeout allows");
  }
}

void Server::cut_off(Session& session, const std::string& why) {
  log("cut off " + session.peer + ": " + why);
  session.cut_off = true;
  session.deadline.at = {};
  ::shutdown(session.socket, SHUT_RDWR);
}

}  // namespace coppice::nbd
