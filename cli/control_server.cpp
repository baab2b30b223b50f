#include "cli/control_server.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>

#include "cli/rpc.h"

namespace coppice::cli {
namespace {

constexpr std::size_t kMaxConnections = 256;
constexpr std::size_t kMaxFiles = 4;
constexpr std::size_t kRequestBytes = std::size_t{64} << 10;
constexpr std::chrono::milliseconds kAcceptPause{100};
constexpr std::chrono::milliseconds kProgressInterval{200};

bool is_ready(int socket, short events) {
  pollfd query{socket, events, 0};
  return poll(&query, 1, 0) > 0 && (query.revents & events) != 0;
}

bool has_left(int socket) {
  return is_ready(socket, POLLHUP | POLLRDHUP | POLLERR);
}

}  // namespace

struct ControlServer::Connection {
  UniqueFd socket;
  std::string received;
  std::vector<UniqueFd> files;

  void take_files(msghdr& message);
  // Wakes whatever waits for the client, or for a stream that it passed.
  void cut_off() const {
    shutdown(socket.get(), SHUT_RDWR);
    for (const auto& file : files) shutdown(file.get(), SHUT_RDWR);
  }
};

void ControlServer::Connection::take_files(msghdr& message) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    const auto* descriptors = reinterpret_cast<const int*>(CMSG_DATA(part));
    for (std::size_t i = 0; i < count; ++i) files.emplace_back(descriptors[i]);
  }
}

void ControlServer::start(UniqueFd listener) {
  listener_ = std::move(listener);
  running_.add();
  spawn(accept_clients());
}

Task<void> ControlServer::stop() {
  stopping_ = true;
  shutdown(listener_.get(), SHUT_RDWR);
  for (const Connection* connection : connections_) connection->cut_off();
  co_await running_.wait();
  listener_.reset();
}

Task<void> ControlServer::accept_clients() {
  while (!stopping_) {
    const std::int32_t accepted = co_await reactor_.accept(listener_.get());
    if (accepted >= 0) {
      UniqueFd socket(accepted);
      if (stopping_ || connections_.size() >= kMaxConnections) continue;
      running_.add();
      spawn(serve(std::move(socket)));
    } else if (accepted == -EINVAL || accepted == -EBADF) {
      break;  // shut down
    } else {
      co_await sleep_for(reactor_, kAcceptPause);  // out of descriptors: others must let go first
    }
  }
  running_.done();
}

Task<void> ControlServer::serve(UniqueFd socket) {
  {
    Connection connection{std::move(socket), {}, {}};
    connections_.insert(&connection);
    co_await converse(connection);
    connections_.erase(&connection);
  }
  running_.done();
}

Task<void> ControlServer::converse(Connection& connection) {
  bool going_on = true;
  while (going_on && !stopping_) {
    const auto end = connection.received.find('\n');
    if (end != std::string::npos) {
      std::string line = connection.received.substr(0, end);
      connection.received.erase(0, end + 1);
      if (!line.empty()) going_on = co_await answer_line(connection, std::move(line));
    } else if (connection.received.size() > kMaxRequestLineBytes) {
      const RpcRefusal refusal{kInvalidRequest, "a request is at most 1 MiB long", {}};
      co_await send(connection, encode_refusal(refusal));
      going_on = false;
    } else {
      going_on = co_await receive(connection);
    }
  }
}

// False at the end of the stream, or when the client did what it must not.
Task<bool> ControlServer::receive(Connection& connection) {
  const std::int32_t events = co_await reactor_.poll(connection.socket.get(), POLLIN);
  if (events < 0) co_return false;
  std::vector<char> bytes(kRequestBytes);
  iovec part{bytes.data(), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFiles * sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(connection.socket.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0) co_return errno == EAGAIN || errno == EINTR;
  connection.take_files(message);
  if (got == 0 || (message.msg_flags & MSG_CTRUNC) != 0 || connection.files.size() > kMaxFiles)
    co_return false;
  connection.received.append(bytes.data(), static_cast<std::size_t>(got));
  co_return true;
}

Task<bool> ControlServer::answer_line(Connection& connection, std::string line) {
  auto request = decode_request(line);
  std::string text;
  if (request) {
    auto answer = co_await dispatcher_.call(
        call_of(connection, std::move(request->method), std::move(request->params)));
    text = answer ? encode_result(request->id, *answer) : encode_failure(request->id, answer.error());
  } else {
    text = encode_refusal(request.error());
  }
  // Closed before the client hears of it: what it passed is its own again.
  connection.files.clear();
  const bool sent = co_await send(connection, std::move(text));
  co_return sent;
}

Call ControlServer::call_of(Connection& connection, std::string method, Json params) {
  Call call{std::move(method), std::move(params), {}, {}};
  for (const auto& file : connection.files) call.files.push_back(file.get());
  const int socket = connection.socket.get();
  call.hooks.wanted = [this, socket] { return !stopping_ && !has_left(socket); };
  call.hooks.progress = [this, socket, next = reactor_.now()](std::uint64_t done,
                                                              std::uint64_t total) mutable {
    // A socket that is ready to be written takes a short line whole; else the client can do without.
    if (reactor_.now() < next || !is_ready(socket, POLLOUT)) return;
    next = reactor_.now() + kProgressInterval;
    const std::string line = encode_progress(done, total);
    static_cast<void>(::send(socket, line.data(), line.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
  };
  return call;
}

Task<bool> ControlServer::send(Connection& connection, std::string text) {
  const auto bytes = std::as_bytes(std::span(text));
  std::size_t done = 0;
  while (done < bytes.size()) {
    const std::int32_t sent = co_await reactor_.send(connection.socket.get(), bytes.subspan(done));
    if (sent == -EINTR) continue;
    if (sent <= 0) co_return false;
    done += static_cast<std::size_t>(sent);
  }
  co_return true;
}

}  // namespace coppice::cli
