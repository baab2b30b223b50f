#include "nbd/connection.h"

#include <sys/socket.h>

#include <utility>

namespace coppice::nbd {

namespace {

// What a request holds of the connection's memory while it runs.
std::size_t charge_of(const Request& request, bool refused) {
  const bool carries_data = request.command == Command::kRead || request.command == Command::kWrite;
  return carries_data && !refused ? request.length_bytes : 0;
}

}  // namespace

Connection::Connection(Reactor& reactor, int socket, StreamReader& reader, BlockDevice& device,
                       ExportShape shape, std::span<const std::unique_ptr<StatusContext>> contexts)
    : socket_(socket),
      reader_(reader),
      shape_(shape),
      sender_(reactor, socket, buffers_),
      service_(device, shape, contexts, buffers_, sender_) {
  service_.on_no_space = [this] {
    if (on_no_space) on_no_space();
  };
}

Task<void> Connection::run() {
  sender_.start();
  co_await take_requests();
  co_await sender_.finish();
}

void Connection::stop() {
  stopping_ = true;
  ::shutdown(socket_, SHUT_RD);
}

Task<void> Connection::take_requests() {
  const std::size_t header = header_bytes(shape_.form);
  while (!stopping_) {
    if (reader_.buffered().size() < header) {
      const bool came = co_await reader_.fill(header);
      if (!came) co_return;
    }
    const auto request = decode_request(reader_.buffered(), shape_.form);
    if (!request || request->command == Command::kDisconnect) co_return;
    reader_.consume(header);
    const bool in_step = co_await take(*request);
    if (!in_step) co_return;
  }
}

Task<bool> Connection::take(Request request) {
  bool in_step = true;
  if (names_contexts(request, shape_)) {
    in_step = co_await take_named_status(request);
    co_return in_step;
  }
  const auto refusal = refuse_request(request, shape_);
  const std::size_t charged_bytes = charge_of(request, refusal.has_value());
  if (!sender_.try_reserve(charged_bytes)) co_await sender_.reserve(charged_bytes);
  if (refusal) {
    in_step = co_await take_refused(request, *refusal);
  } else if (request.command == Command::kWrite) {
    in_step = co_await take_write(request);
  } else {
    service_.start(request, charged_bytes);
  }
  co_return in_step;
}

Task<bool> Connection::take_refused(Request request, Refusal refusal) {
  const bool drained = co_await reader_.skip(request.payload_bytes);
  if (drained) {
    service_.refuse(request, refusal, 0);
  } else {
    sender_.release(0);
  }
  co_return drained;
}

Task<bool> Connection::take_write(Request request) {
  AlignedBuffer payload = buffers_.take(request.length_bytes);
  const auto into = payload.first(request.length_bytes);
  const bool whole = co_await reader_.read(into);
  if (whole) {
    service_.start_write(request, std::move(payload), request.length_bytes);
  } else {
    sender_.release(request.length_bytes);
  }
  co_return whole;
}

Task<bool> Connection::take_named_status(Request request) {
  constexpr Refusal kNotUnderstood{WireError::kInvalid, "the payload is no length and different contexts"};
  if (!sender_.try_reserve(0)) co_await sender_.reserve(0);
  bool whole = true;
  if (request.payload_bytes > kMaxStatusPayload) {
    whole = co_await take_refused(request, kNotUnderstood);
    co_return whole;
  }
  whole = co_await reader_.fill(request.payload_bytes);
  if (!whole) {
    sender_.release(0);
    co_return whole;
  }
  const auto ids = take_status_payload(request, reader_.buffered().first(request.payload_bytes));
  reader_.consume(request.payload_bytes);
  if (!ids) {
    service_.refuse(request, kNotUnderstood, 0);
  } else if (const auto refusal = refuse_request(request, shape_)) {
    service_.refuse(request, *refusal, 0);
  } else {
    service_.start_status(request, *ids);
  }
  co_return whole;
}

}  // namespace coppice::nbd
