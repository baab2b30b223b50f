#include "nbd_wire.h"

#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "io/backend.h"

namespace coppice {

namespace fuzz {
namespace {

constexpr std::size_t kMostReceived = 97;   // in pieces: some headers whole, some cut
constexpr std::size_t kMostSent = 5000;     // of a reply with data several times
constexpr std::size_t kMostPatience = 700;  // a handshake and a few replies

class WireBackend final : public Backend {
 public:
  void submit(SystemCall& call) override { Wire::get().submit(call); }
  void turn(std::optional<std::chrono::nanoseconds> limit) override {
    Wire::get().complete_done(!limit.has_value());
  }
};

}  // namespace

Wire& Wire::get() {
  static Wire wire;
  return wire;
}

void Wire::begin(Input sent, Manner manner) {
  sent_ = sent;
  manner_ = manner;
  random_ = manner.seed;
  patience_bytes_ = 1 + random() % kMostPatience;
  left_ = false;
  replies = {};
}

void Wire::submit(SystemCall& call) {
  // The reactor's own, by which it learns of its threads: none has anything to do here.
  if (call.kind == SystemCall::Kind::kRead) return;
  call.result = perform(call);
  done_.push_back(&call);
}

void Wire::complete_done(bool may_wait) {
  if (done_.empty() && may_wait)
    demand(on_standstill && on_standstill(), "nobody waits for what doesn't come");
  std::swap(done_, completing_);
  for (SystemCall* const call : completing_) call->complete(*call);
  completing_.clear();
}

std::int32_t Wire::perform(const SystemCall& call) {
  demand(call.descriptor == kWireSocket, "what is called is the socket");
  if (interrupted()) return random() % 2 == 0 ? -EINTR : -EAGAIN;
  if (call.kind == SystemCall::Kind::kReceive) return receive(call);
  if (call.kind == SystemCall::Kind::kSend)
    return send({static_cast<const std::byte*>(call.address), call.length});
  demand(call.kind == SystemCall::Kind::kSendMessage, "a socket is received from and sent to");
  return send_message(*static_cast<const msghdr*>(call.address));
}

std::int32_t Wire::receive(const SystemCall& call) {
  const std::size_t got = std::min(piece_of(kMostReceived), std::min<std::size_t>(call.length, sent_.size()));
  if (got != 0) std::memcpy(call.address, sent_.data(), got);
  sent_ = sent_.subspan(got);
  return static_cast<std::int32_t>(got);
}

std::int32_t Wire::send(Input bytes) {
  iovec piece{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  return send_message(message);
}

std::int32_t Wire::send_message(const msghdr& message) {
  if (left_) return -EPIPE;
  std::size_t room = piece_of(kMostSent);
  std::size_t taken = 0;
  for (const iovec& piece : std::span(message.msg_iov, message.msg_iovlen)) {
    const std::size_t part = std::min(piece.iov_len, room - taken);
    replies.take({static_cast<const std::byte*>(piece.iov_base), part});
    taken += part;
    if (taken == room) break;
  }
  left_ = manner_.leaves && taken >= patience_bytes_;
  patience_bytes_ -= std::min(taken, patience_bytes_);
  return static_cast<std::int32_t>(taken);
}

bool Wire::interrupted() {
  return manner_.in_pieces && random() % 16 == 0;
}

std::size_t Wire::piece_of(std::size_t most) {
  return manner_.in_pieces ? 1 + random() % most : std::size_t{INT32_MAX};
}

std::uint32_t Wire::random() {
  random_ = random_ * 6364136223846793005 + 1442695040888963407;
  return static_cast<std::uint32_t>(random_ >> 33);
}

}  // namespace fuzz

// In place of the engine's own, which would make a ring.
Result<std::unique_ptr<Backend>> choose_backend(const std::function<void(const std::string&)>& /*notice*/) {
  return std::make_unique<fuzz::WireBackend>();
}

}  // namespace coppice
