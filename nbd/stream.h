// StreamReader: a socket's bytes in order, received in large pieces so that many small requests cost one
// system call. send_all() is its other direction.
//
// One coroutine reads. Lives on the reactor's thread; the sockets outlive it.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "coppice/aligned_buffer.h"
#include "coppice/reactor.h"
#include "coppice/task.h"

namespace coppice::nbd {

class StreamReader {
 public:
  static constexpr std::size_t kBufferBytes = 128 << 10;

  StreamReader(Reactor& reactor, int socket) : reactor_(reactor), socket_(socket), buffer_(kBufferBytes) {}

  // What is buffered already, oldest first.
  [[nodiscard]] std::span<const std::byte> buffered() const {
    return buffer_.span().subspan(begin_, end_ - begin_);
  }
  void consume(std::size_t bytes) { begin_ += bytes; }
  // Goes on with another socket. What is buffered would seem to come from there: it must be nothing.
  void continue_on(int socket) { socket_ = socket; }
  // Moves whenever something came.
  [[nodiscard]] std::uint64_t received() const { return received_; }

  // Each answers false when the stream ended or broke before it had enough.
  Task<bool> fill(std::size_t bytes);  // until at least `bytes`, at most kBufferBytes, are buffered
  Task<bool> read(std::span<std::byte> into);
  Task<bool> skip(std::uint64_t bytes);

 private:
  Reactor& reactor_;
  int socket_;
  AlignedBuffer buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::uint64_t received_ = 0;
};

// Sends all of it; the iovecs are used up, and `moves` counts each part that the client took. False when the
// socket broke.
Task<bool> send_all(Reactor& reactor, int socket, std::span<iovec> pieces, std::uint64_t& moves);
Task<bool> send_all(Reactor& reactor, int socket, std::span<const std::byte> bytes);

}  // namespace coppice::nbd
