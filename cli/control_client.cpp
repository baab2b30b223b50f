#include "cli/control_client.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "cli/control_socket.h"
#include "cli/interrupt.h"
#include "cli/rpc.h"
#include "cli/stream_pump.h"

namespace coppice::cli {
namespace {

constexpr int kGreetingPatienceMs = 15'000;
constexpr std::size_t kAnswerBytes = std::size_t{256} << 10;

Outcome<> stream_outcome(const StreamPump* pump) {
  if (pump == nullptr || pump->own_errno() == 0) return {};
  return refuse(ErrorKind::kIo, std::string("the image's stream: ") + std::strerror(pump->own_errno()));
}

}  // namespace

std::unexpected<Failure> ControlClient::lost() const {
  return refuse(ErrorKind::kIo, "the daemon of store " + store_ +
                                    " went away before it answered: start it again and look what is done");
}

Outcome<std::optional<ControlClient>> ControlClient::connect(const std::string& store) {
  auto socket = connect_control(store);
  if (!socket) return std::unexpected(socket.error());
  if (!socket->valid()) return std::nullopt;
  ControlClient client(store, std::move(*socket));
  auto listening = client.greet();
  if (!listening) return std::unexpected(listening.error());
  if (!*listening) return std::nullopt;
  return client;
}

Outcome<bool> ControlClient::greet() {
  if (!send(Request{.method = "hello"}, -1)) return false;
  std::optional<std::string> line;
  while (!(line = take_line())) {
    pollfd query{socket_.get(), POLLIN, 0};
    if (poll(&query, 1, kGreetingPatienceMs) <= 0) {
      return refuse(ErrorKind::kUnsupported, "the daemon of store " + store_ + " does not answer on " +
                                                 control_path(store_) + ": is it stopped or stuck?");
    }
    if (!receive()) return false;
  }
  const RpcReply reply = decode_reply(*line);
  if (!reply.answer) return std::unexpected(reply.answer.error());
  if (reply.answer->value("protocol", Json()) != kControlProtocol) {
    return refuse(
        ErrorKind::kUnsupported,
        "the daemon of store " + store_ + " is of another version: restart `coppice serve` with this one");
  }
  const Json pid = reply.answer->value("pid", Json());
  if (pid.is_number_unsigned()) daemon_pid_ = pid.get<std::uint64_t>();
  return true;
}

Outcome<Json> ControlClient::call(const Request& request) {
  if (request.stream != Direction::kNone) return call_with_stream(request);
  auto sent = send(request, request.file);
  if (!sent) return std::unexpected(sent.error());
  return wait_for_answer(request, nullptr);
}

Outcome<Json> ControlClient::call_with_stream(const Request& request) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return refuse(ErrorKind::kIo, std::string("making a socket for the image: ") + std::strerror(errno));
  }
  UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  auto sent = send(request, theirs.get());
  if (!sent) return std::unexpected(sent.error());
  theirs.reset();  // the daemon's alone now, so that its end of the stream is seen here
  StreamPump pump(request.stream, request.file, ours.get());
  auto answer = wait_for_answer(request, &pump);
  // What the daemon wrote last may still be on its way.
  while (answer && request.stream == Direction::kOut && !pump.finished()) {
    auto ready = wait_until_ready(&pump);
    if (!ready) answer = std::unexpected(ready.error());
  }
  // The daemon must not take the end of the stream for the end of the image: it learns first that we left.
  if (!answer) socket_.reset();
  return answer;
}

Outcome<> ControlClient::send(const Request& request, int file) {
  const std::string line = encode_request(next_id_++, request.method, request.params);
  iovec part{const_cast<char*>(line.data()), line.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (file >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(rights), &file, sizeof file);
  }
  while (part.iov_len != 0) {
    const ssize_t sent = sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return lost();
    part.iov_base = static_cast<char*>(part.iov_base) + sent;
    part.iov_len -= static_cast<std::size_t>(sent);
    message.msg_control = nullptr;  // went with the first bytes
    message.msg_controllen = 0;
  }
  return {};
}

Outcome<Json> ControlClient::wait_for_answer(const Request& request, StreamPump* pump) {
  while (true) {
    while (auto line = take_line()) {
      RpcReply reply = decode_reply(*line);
      if (!reply.progress) return std::move(reply.answer);
      if (request.progress) request.progress(reply.progress->done_bytes, reply.progress->total_bytes);
    }
    auto ready = wait_until_ready(pump);
    if (!ready) return std::unexpected(ready.error());
  }
}

// Moves the stream on, or takes in what the daemon sent.
Outcome<> ControlClient::wait_until_ready(StreamPump* pump) {
  const bool pumping = pump != nullptr && !pump->finished();
  pollfd queries[] = {{socket_.get(), POLLIN, 0}, pumping ? pump->wanted() : pollfd{-1, 0, 0}};
  const int ready = poll(queries, 2, -1);
  if (interrupted()) return refuse(ErrorKind::kBusy, "the copy was called off");
  if (ready < 0 && errno != EINTR) return lost();
  if (ready <= 0) return {};
  if (queries[1].revents != 0) pump->step();
  auto outcome = stream_outcome(pump);
  if (outcome && queries[0].revents != 0) outcome = receive();
  return outcome;
}

Outcome<> ControlClient::receive() {
  std::vector<char> bytes(kAnswerBytes);
  const ssize_t got = recv(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return {};
  if (got <= 0) return lost();
  received_.append(bytes.data(), static_cast<std::size_t>(got));
  return {};
}

std::optional<std::string> ControlClient::take_line() {
  const auto end = received_.find('\n');
  if (end == std::string::npos) return std::nullopt;
  std::string line = received_.substr(0, end);
  received_.erase(0, end + 1);
  return line;
}

}  // namespace coppice::cli
