#include "nbd/tls_relay.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <system_error>

#include "nbd/tls_session.h"

namespace coppice::nbd {

namespace {

constexpr std::size_t kBytes = TlsSession::kBufferBytes;

bool would_wait() {
  return errno == EAGAIN || errno == EINTR;
}

class Conversation {
 public:
  Conversation(int client, int outer, const TlsCredentials& credentials)
      : client_(client), outer_(outer), session_(credentials) {}
  // Why TLS failed, or nothing.
  std::string run();

 private:
  enum class Came : std::uint8_t { kSomething, kNothing, kEnd };

  bool shake_hands();
  // One turn of both ways, as far as they go without waiting. False when it is over.
  bool relay();
  void decrypt();
  void pass_on_requests();
  void encrypt_replies();
  Came receive();
  bool send();
  void wait_for_something();
  void finish();

  int client_;
  int outer_;
  TlsSession session_;
  std::unique_ptr<std::byte[]> requests_ = std::make_unique_for_overwrite<std::byte[]>(kBytes);
  std::unique_ptr<std::byte[]> replies_ = std::make_unique_for_overwrite<std::byte[]>(kBytes);
  std::span<const std::byte> passing_;  // of requests_, what the connection is yet to take
  bool undecrypted_ = false;            // there may be more of them in the session already
  bool client_readable_ = true;         // as far as is known
  bool outer_readable_ = true;
  bool client_ended_ = false;  // no more requests come, or none are taken
  bool told_end_ = false;      // … and the connection knows
  bool served_ = false;        // no more replies come
};

std::string Conversation::run() {
  bool good = shake_hands();
  while (good && relay()) wait_for_something();
  finish();
  return session_.problem();
}

bool Conversation::shake_hands() {
  while (true) {
    const auto step = session_.handshake();
    if (step == TlsSession::Step::kFailed) return false;
    const bool there = send();
    if (there && step == TlsSession::Step::kDone) return true;
    pollfd waiting{.fd = client_, .events = POLLIN, .revents = 0};
    if (!session_.outgoing().empty()) waiting.events |= POLLOUT;
    if (there) ::poll(&waiting, 1, -1);
    if (!there || receive() == Came::kEnd) {
      session_.give_up("the client left during the TLS handshake");
      return false;
    }
  }
}

bool Conversation::relay() {
  decrypt();
  pass_on_requests();
  encrypt_replies();
  if (!send() || !session_.problem().empty()) return false;
  return !served_ || !session_.outgoing().empty();
}

void Conversation::decrypt() {
  while (passing_.empty() && !client_ended_) {
    std::size_t bytes = 0;
    const auto step = session_.read({requests_.get(), kBytes}, bytes);
    passing_ = {requests_.get(), bytes};
    undecrypted_ = step == TlsSession::Step::kDone;
    client_ended_ = step == TlsSession::Step::kEnded || step == TlsSession::Step::kFailed;
    if (step != TlsSession::Step::kWantsInput || bytes != 0) continue;
    const Came came = client_readable_ ? receive() : Came::kNothing;
    if (came == Came::kNothing) return;
    // An end without TLS' own goodbye: NBD's requests tell by themselves whether they are whole.
    client_ended_ = came == Came::kEnd;
  }
}

void Conversation::pass_on_requests() {
  if (!passing_.empty()) {
    const ssize_t taken = ::send(outer_, passing_.data(), passing_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (taken >= 0) {
      passing_ = passing_.subspan(static_cast<std::size_t>(taken));
    } else if (!would_wait()) {
      passing_ = {};  // the connection takes no more, as at a stop; its replies are still to come
      client_ended_ = true;
    }
  }
  if (!client_ended_ || !passing_.empty() || told_end_) return;
  ::shutdown(outer_, SHUT_WR);
  told_end_ = true;
}

void Conversation::encrypt_replies() {
  if (served_ || !outer_readable_ || !session_.outgoing().empty()) return;
  const ssize_t got = ::recv(outer_, replies_.get(), kBytes, MSG_DONTWAIT);
  outer_readable_ = got == static_cast<ssize_t>(kBytes);
  if (got > 0) session_.write({replies_.get(), static_cast<std::size_t>(got)});
  served_ = got == 0 || (got < 0 && !would_wait());
}

Conversation::Came Conversation::receive() {
  const auto room = session_.room();
  const ssize_t got = ::recv(client_, room.data(), room.size(), MSG_DONTWAIT);
  client_readable_ = got == static_cast<ssize_t>(room.size());
  if (got > 0) session_.received(static_cast<std::size_t>(got));
  if (got > 0) return Came::kSomething;
  return got < 0 && would_wait() ? Came::kNothing : Came::kEnd;
}

// As much as the client takes. False when it is gone.
bool Conversation::send() {
  while (!session_.outgoing().empty()) {
    const auto bytes = session_.outgoing();
    const ssize_t sent = ::send(client_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno == EAGAIN;
    session_.sent(static_cast<std::size_t>(sent));
  }
  return true;
}

void Conversation::wait_for_something() {
  const bool takes_requests = !client_ended_ && passing_.empty();
  const bool takes_replies = !served_ && session_.outgoing().empty();
  pollfd ends[2] = {{.fd = client_, .events = 0, .revents = 0}, {.fd = outer_, .events = 0, .revents = 0}};
  if (takes_requests) ends[0].events |= POLLIN;
  if (!session_.outgoing().empty()) ends[0].events |= POLLOUT;
  if (!passing_.empty()) ends[1].events |= POLLOUT;
  if (takes_replies) ends[1].events |= POLLIN;
  // A side that nothing is wanted of would wake us again and again once it has hung up.
  for (pollfd& end : ends) {
    if (end.events == 0) end.fd = -1;
  }
  // What has been received already no socket will tell of.
  const bool goes_on =
      (takes_requests && (client_readable_ || undecrypted_)) || (takes_replies && outer_readable_);
  ::poll(ends, 2, goes_on ? 0 : -1);
  client_readable_ |= (ends[0].revents & ~POLLOUT) != 0;
  outer_readable_ |= (ends[1].revents & ~POLLOUT) != 0;
}

// What is left is an alert that says why, or the goodbye.
void Conversation::finish() {
  session_.say_goodbye();
  while (send() && !session_.outgoing().empty()) {
    pollfd waiting{.fd = client_, .events = POLLOUT, .revents = 0};
    ::poll(&waiting, 1, -1);
  }
}

}  // namespace

Outcome<std::unique_ptr<TlsRelay>> TlsRelay::start(int client, const TlsCredentials& credentials) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return refuse(ErrorKind::kIo, std::string("TLS: no sockets: ") + std::strerror(errno));
  auto relay = std::unique_ptr<TlsRelay>(new TlsRelay(client, ends[0], ends[1], ::eventfd(0, EFD_CLOEXEC)));
  if (relay->done_ < 0)
    return refuse(ErrorKind::kIo, std::string("TLS: no descriptor: ") + std::strerror(errno));
  // The one place where the standard library has only an exception to say that there are no more threads.
  try {
    relay->thread_ = std::thread([self = relay.get(), &credentials] { self->run(credentials); });
  } catch (const std::system_error& error) {
    return refuse(ErrorKind::kIo, std::string("TLS: no thread: ") + error.what());
  }
  return relay;
}

TlsRelay::~TlsRelay() {
  if (thread_.joinable()) thread_.join();
  ::close(inner_);
  if (outer_ >= 0) ::close(outer_);
  if (done_ >= 0) ::close(done_);
}

void TlsRelay::run(const TlsCredentials& credentials) {
  ::pthread_setname_np(::pthread_self(), "coppice-tls");
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
  problem_ = Conversation(client_, outer_, credentials).run();
  // The connection reads the end now, if it has not before.
  ::close(outer_);
  outer_ = -1;
  const std::uint64_t one = 1;
  static_cast<void>(!::write(done_, &one, sizeof one));
}

Task<std::string> TlsRelay::end(Reactor& reactor) {
  ::shutdown(inner_, SHUT_WR);
  std::int32_t events = 0;
  while (events <= 0) events = co_await reactor.poll(done_, POLLIN);
  thread_.join();
  co_return problem_;
}

}  // namespace coppice::nbd
