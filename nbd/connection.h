// Connection: the transmission phase with one client on one export.
//
// One coroutine reads requests, and refuses those that may not reach the device; all others are the
// Service's. Replies leave through the ReplySender. A write reaches the device only when its payload is
// complete, so a client that stalls holds nothing in the engine. When run() returns, no request is in flight
// and the device may be destroyed. Lives on the reactor's thread.
#pragma once

#include <functional>

#include "nbd/service.h"
#include "nbd/stream.h"

namespace coppice::nbd {

class Connection {
 public:
  Connection(Reactor& reactor, int socket, StreamReader& reader, BlockDevice& device, ExportShape shape,
             std::span<const std::unique_ptr<StatusContext>> contexts);

  Task<void> run();
  // No more requests are taken; those in flight are answered. run() returns soon after, unless the client
  // doesn't read its replies: shutting the socket down helps then.
  void stop();
  // Moves whenever the client did something; whether nothing is to be done but by it.
  [[nodiscard]] std::uint64_t activity() const { return reader_.received() + sender_.sent(); }
  [[nodiscard]] bool waits_for_client() const { return sender_.waits_for_client(); }
  // Called for each request that found no space: a guest is paused then, and its operator looks at the log.
  std::function<void()> on_no_space{};

 private:
  Task<void> take_requests();
  // Each is false when the stream ended within the payload.
  Task<bool> take(Request request);
  Task<bool> take_refused(Request request, Refusal refusal);
  Task<bool> take_write(Request request);
  Task<bool> take_named_status(Request request);

  int socket_;
  StreamReader& reader_;
  ExportShape shape_;
  BufferPool buffers_;
  ReplySender sender_;
  Service service_;
  bool stopping_ = false;
};

}  // namespace coppice::nbd
