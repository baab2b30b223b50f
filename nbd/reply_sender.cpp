#include "nbd/reply_sender.h"

#include <sys/socket.h>

#include <utility>

#include "nbd/stream.h"

namespace coppice::nbd {

ReplySender::ReplySender(Reactor& reactor, int socket, BufferPool& buffers)
    : reactor_(reactor), socket_(socket), buffers_(buffers), replies_came_(reactor), room_came_(reactor) {}

bool ReplySender::try_reserve(std::size_t bytes) {
  // One that is alone always fits.
  if (requests_ >= kMaxRequests || (bytes_ != 0 && bytes_ + bytes > kMaxBytes)) return false;
  ++requests_;
  bytes_ += bytes;
  return true;
}

Task<void> ReplySender::reserve(std::size_t bytes) {
  while (!try_reserve(bytes)) co_await room_came_.wait();
}

void ReplySender::release(std::size_t bytes) {
  --requests_;
  bytes_ -= bytes;
  room_came_.wake_one();
}

void ReplySender::push(Reply reply) {
  if (broken_) {
    release(reply.charged_bytes);
    return;
  }
  ready_.push_back(std::move(reply));
  replies_came_.wake_one();
}

Task<void> ReplySender::finish() {
  while (requests_ != 0) co_await room_came_.wait();
  finishing_ = true;
  replies_came_.wake_one();
  co_await ended_;
}

Task<void> ReplySender::send_replies() {
  while (true) {
    while (ready_.empty() && !finishing_) co_await replies_came_.wait();
    if (ready_.empty()) break;
    std::swap(ready_, sending_);
    gather();
    if (!broken_) {
      const bool sent = co_await send_all(reactor_, socket_, std::span(pieces_), sent_);
      broken_ = !sent;
      // Wakes the reader, which may be waiting for requests that can't be answered any more.
      if (!sent) ::shutdown(socket_, SHUT_RDWR);
    }
    retire();
  }
  ended_.arrive();
}

void ReplySender::gather() {
  pieces_.clear();
  for (Reply& reply : sending_) {
    if (reply.head_bytes != 0) pieces_.push_back({reply.head.data(), reply.head_bytes});
    if (!reply.body.empty()) pieces_.push_back({reply.body.data(), reply.body.size()});
    if (reply.data_bytes != 0) pieces_.push_back({reply.data.data(), reply.data_bytes});
  }
}

void ReplySender::retire() {
  for (Reply& reply : sending_) {
    buffers_.give(std::move(reply.data));
    release(reply.charged_bytes);
  }
  sending_.clear();
}

}  // namespace coppice::nbd
