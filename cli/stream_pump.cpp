#include "cli/stream_pump.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace coppice::cli {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

}  // namespace

StreamPump::StreamPump(Direction direction, int own, int other)
    : direction_(direction),
      source_(direction == Direction::kIn ? own : other),
      sink_(direction == Direction::kIn ? other : own),
      buffer_(kBufferBytes) {}

pollfd StreamPump::wanted() const {
  return begin_ == end_ ? pollfd{source_, POLLIN, 0} : pollfd{sink_, POLLOUT, 0};
}

void StreamPump::step() {
  if (begin_ == end_) {
    fill();
  } else {
    drain();
  }
}

void StreamPump::fill() {
  const ssize_t got = read(source_, buffer_.data(), buffer_.size());
  if (got < 0) return fail(direction_ == Direction::kIn);
  begin_ = 0;
  end_ = static_cast<std::size_t>(got);
  if (got != 0) return;
  finished_ = true;
  // The daemon sees the end of the image; the socket stays open until its answer is here.
  if (direction_ == Direction::kIn) shutdown(sink_, SHUT_WR);
}

void StreamPump::drain() {
  const ssize_t put = write(sink_, buffer_.data() + begin_, end_ - begin_);
  if (put < 0) return fail(direction_ == Direction::kOut);
  begin_ += static_cast<std::size_t>(put);
}

void StreamPump::fail(bool own_side) {
  if (errno == EAGAIN || errno == EINTR) return;
  if (own_side) own_errno_ = errno;
  finished_ = true;
}

}  // namespace coppice::cli
