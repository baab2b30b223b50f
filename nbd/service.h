// Service: carries out the requests of one connection, each as a coroutine of its own, and answers them.
//
// What comes here was not refused: it is within the export, and its payload is complete. Lives on the
// reactor's thread, as long as the requests that it was given.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "coppice/block_device.h"
#include "coppice/buffer_pool.h"
#include "nbd/block_status.h"
#include "nbd/reply_sender.h"
#include "nbd/request.h"

namespace coppice::nbd {

class Service {
 public:
  Service(BlockDevice& device, ExportShape shape, std::span<const std::unique_ptr<StatusContext>> contexts,
          BufferPool& buffers, ReplySender& sender);

  // `charged_bytes` of the sender's budget are the request's.
  void start(Request request, std::size_t charged_bytes);
  void start_write(Request request, AlignedBuffer payload, std::size_t charged_bytes);
  // Of the contexts with these ids alone.
  void start_status(Request request, const std::vector<std::uint32_t>& ids);
  void refuse(const Request& request, const Refusal& refusal, std::size_t charged_bytes);

  // Called for each request that found no space.
  std::function<void()> on_no_space{};

 private:
  using Contexts = std::vector<StatusContext*>;
  Task<void> serve_read(Request request, std::size_t charged_bytes);
  Task<void> serve_write(Request request, AlignedBuffer payload, std::size_t charged_bytes);
  Task<void> serve_status(Request request, Contexts contexts);
  Task<void> serve_other(Request request);
  Task<Result<>> carry_out(Request request);
  Task<Result<>> warm_up(Request request);

  void answer(Reply reply, std::size_t charged_bytes);
  void answer(const Request& request, const Result<>& result, std::size_t charged_bytes);

  BlockDevice& device_;
  ExportShape shape_;
  std::span<const std::unique_ptr<StatusContext>> contexts_;
  BufferPool& buffers_;
  ReplySender& sender_;
};

}  // namespace coppice::nbd
