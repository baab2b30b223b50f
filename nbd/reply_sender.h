// ReplySender: sends the replies of one connection, all that are ready in one system call.
//
// It also keeps the connection's budget: a request holds its share from before its payload is received until
// its reply has been sent, so that a client that doesn't read its replies stops being read from.
// Lives on the reactor's thread. Destroyed only after finish().
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <vector>

#include "coppice/buffer_pool.h"
#include "coppice/reactor.h"
#include "nbd/reply.h"

namespace coppice::nbd {

class ReplySender {
 public:
  static constexpr std::size_t kMaxRequests = 128;
  // As much as the connection's buffers that are kept, so that they come to be used again: with more in
  // flight each request beyond had memory from the system, and gave it back. One that is larger goes alone.
  static constexpr std::size_t kMaxBytes = BufferPool::kKeptBytes;

  ReplySender(Reactor& reactor, int socket, BufferPool& buffers);

  void start() { spawn(send_replies()); }
  // Waits for room. One coroutine, the connection's reader.
  Task<void> reserve(std::size_t bytes);
  // True if there was room.
  bool try_reserve(std::size_t bytes);
  // A request that will have no reply.
  void release(std::size_t bytes);
  void push(Reply reply);

  // Moves whenever the client has taken something; whether it is the client's move.
  [[nodiscard]] std::uint64_t sent() const { return sent_; }
  [[nodiscard]] bool waits_for_client() const { return requests_ == 0 || !sending_.empty(); }

  // Waits until every reserved request was answered, then ends the sending coroutine.
  Task<void> finish();

 private:
  Task<void> send_replies();
  void gather();
  void retire();

  Reactor& reactor_;
  int socket_;
  BufferPool& buffers_;
  std::vector<Reply> ready_;    // to be sent next
  std::vector<Reply> sending_;  // in the system call
  std::vector<iovec> pieces_;   // of sending_
  std::uint64_t sent_ = 0;
  std::size_t requests_ = 0;
  std::size_t bytes_ = 0;
  bool broken_ = false;  // the client is gone: replies are dropped
  bool finishing_ = false;
  WaitQueue replies_came_;
  WaitQueue room_came_;
  Latch ended_{1};
};

}  // namespace coppice::nbd
