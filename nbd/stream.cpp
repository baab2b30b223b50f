#include "nbd/stream.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "coppice/types.h"

namespace coppice::nbd {

namespace {

// From here on the rest of a payload is received where it belongs; below, a copy is cheaper than the
// system call, for what is received with it is the next request.
constexpr std::size_t kDirectBytes = 32 << 10;

// Linux takes at most this many pieces per call (IOV_MAX).
constexpr std::size_t kMaxPieces = 1024;

bool worth_retrying(std::int32_t result) {
  return result == -EINTR || result == -EAGAIN;
}

// Takes `bytes` that have been sent off the front.
std::span<iovec> drop_front(std::span<iovec> pieces, std::size_t bytes) {
  while (!pieces.empty() && bytes >= pieces.front().iov_len) {
    bytes -= pieces.front().iov_len;
    pieces = pieces.subspan(1);
  }
  if (!pieces.empty()) {
    pieces.front().iov_base = static_cast<std::byte*>(pieces.front().iov_base) + bytes;
    pieces.front().iov_len -= bytes;
  }
  return pieces;
}

}  // namespace

Task<bool> StreamReader::fill(std::size_t bytes) {
  while (end_ - begin_ < bytes) {
    // A little is moved to the front each time, so that there is always room for many requests.
    const bool little = end_ - begin_ < kBlockBytes;
    if (begin_ != 0 && (little || buffer_.size() - begin_ < bytes)) {
      std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    const auto room = buffer_.span().subspan(end_);
    const std::int32_t received = co_await reactor_.receive(socket_, room);
    if (worth_retrying(received)) continue;
    if (received <= 0) co_return false;
    end_ += static_cast<std::size_t>(received);
    ++received_;
  }
  co_return true;
}

Task<bool> StreamReader::read(std::span<std::byte> into) {
  while (!into.empty()) {
    if (const auto ready = buffered(); !ready.empty()) {
      const std::size_t taken = std::min(ready.size(), into.size());
      std::memcpy(into.data(), ready.data(), taken);
      consume(taken);
      into = into.subspan(taken);
    } else if (into.size() < kDirectBytes) {
      const bool filled = co_await fill(1);
      if (!filled) co_return false;
    } else {
      const std::int32_t received = co_await reactor_.receive(socket_, into);
      if (worth_retrying(received)) continue;
      if (received <= 0) co_return false;
      into = into.subspan(static_cast<std::size_t>(received));
      ++received_;
    }
  }
  co_return true;
}

Task<bool> StreamReader::skip(std::uint64_t bytes) {
  while (bytes != 0) {
    const std::size_t taken = static_cast<std::size_t>(std::min<std::uint64_t>(buffered().size(), bytes));
    consume(taken);
    bytes -= taken;
    if (bytes == 0) break;
    const bool filled = co_await fill(1);
    if (!filled) co_return false;
  }
  co_return true;
}

Task<bool> send_all(Reactor& reactor, int socket, std::span<iovec> pieces, std::uint64_t& moves) {
  while (!pieces.empty()) {
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = std::min(pieces.size(), kMaxPieces);
    const std::int32_t sent = co_await reactor.send_message(socket, message);
    if (worth_retrying(sent)) continue;
    if (sent < 0) co_return false;
    pieces = drop_front(pieces, static_cast<std::size_t>(sent));
    ++moves;
  }
  co_return true;
}

Task<bool> send_all(Reactor& reactor, int socket, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::int32_t sent = co_await reactor.send(socket, bytes);
    if (worth_retrying(sent)) continue;
    if (sent <= 0) co_return false;
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
  co_return true;
}

}  // namespace coppice::nbd
