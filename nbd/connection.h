// Connection: the transmission phase with one client on one export.
//
// One coroutine reads requests; each complete one runs as a coroutine of its own; replies leave through the
// ReplySender. A write reaches the device only when its payload is complete, so a client that stalls holds
// nothing in the engine. When run() returns, no request is in flight and the device may be destroyed.
// Lives on the reactor's thread.
#pragma once

#include <functional>

#include "coppice/block_device.h"
#include "coppice/buffer_pool.h"
#include "coppice/reactor.h"
#include "nbd/block_status.h"
#include "nbd/reply_sender.h"
#include "nbd/request.h"
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
  // False when the stream ended within the payload.
  Task<bool> take_refused(Request request, Refusal refusal, std::size_t charged_bytes);
  Task<bool> take_write(Request request, std::size_t charged_bytes);
  void start(Request request, std::size_t charged_bytes);

  Task<void> serve_read(Request request, std::size_t charged_bytes);
  Task<void> serve_write(Request request, AlignedBuffer payload, std::size_t charged_bytes);
  Task<void> serve_status(Request request);
  Task<void> serve_other(Request request);
  Task<Result<>> carry_out(Request request);
  Task<Result<>> warm_up(Request request);

  void answer(Reply reply, std::size_t charged_bytes);
  void answer(const Request& request, const Result<>& result, std::size_t charged_bytes);

  int socket_;
  StreamReader& reader_;
  BlockDevice& device_;
  ExportShape shape_;
  std::span<const std::unique_ptr<StatusContext>> contexts_;
  BufferPool buffers_;
  ReplySender sender_;
  bool stopping_ = false;
};

}  // namespace coppice::nbd
