#include "nbd/connection.h"

#include <sys/socket.h>

#include <utility>

namespace coppice::nbd {

namespace {

// Block status is answered in pieces of at most this many extents: 16 KiB on the wire.
constexpr std::size_t kMaxExtents = 2048;

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
      device_(device),
      shape_(shape),
      contexts_(contexts),
      sender_(reactor, socket, buffers_) {}

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
  while (!stopping_) {
    if (reader_.buffered().size() < sizeof(RequestHeader)) {
      const bool came = co_await reader_.fill(sizeof(RequestHeader));
      if (!came) co_return;
    }
    const auto request = decode_request(reader_.buffered());
    if (!request || request->command == Command::kDisconnect) co_return;
    reader_.consume(sizeof(RequestHeader));

    const auto refusal = refuse_request(*request, shape_);
    const std::size_t charged_bytes = charge_of(*request, refusal.has_value());
    if (!sender_.try_reserve(charged_bytes)) co_await sender_.reserve(charged_bytes);
    bool in_step = true;
    if (refusal) {
      in_step = co_await take_refused(*request, *refusal, charged_bytes);
    } else if (request->has_payload()) {
      in_step = co_await take_write(*request, charged_bytes);
    } else {
      start(*request, charged_bytes);
    }
    if (!in_step) co_return;
  }
}

Task<bool> Connection::take_refused(Request request, Refusal refusal, std::size_t charged_bytes) {
  if (request.has_payload()) {
    const bool drained = co_await reader_.skip(request.length_bytes);
    if (!drained) {
      sender_.release(charged_bytes);
      co_return false;
    }
  }
  answer(error_reply(request, shape_.structured_replies, refusal.error, refusal.text), charged_bytes);
  co_return true;
}

Task<bool> Connection::take_write(Request request, std::size_t charged_bytes) {
  AlignedBuffer payload = buffers_.take(request.length_bytes);
  const auto into = payload.first(request.length_bytes);
  const bool whole = co_await reader_.read(into);
  if (whole) {
    spawn(serve_write(request, std::move(payload), charged_bytes));
  } else {
    sender_.release(charged_bytes);
  }
  co_return whole;
}

void Connection::start(Request request, std::size_t charged_bytes) {
  if (request.command == Command::kRead) {
    spawn(serve_read(request, charged_bytes));
  } else if (request.command == Command::kBlockStatus) {
    spawn(serve_status(request));
  } else {
    spawn(serve_other(request));
  }
}

Task<void> Connection::serve_read(Request request, std::size_t charged_bytes) {
  if (request.length_bytes == 0) {
    answer(request, {}, charged_bytes);
    co_return;
  }
  AlignedBuffer data = buffers_.take(request.length_bytes);
  const auto into = data.first(request.length_bytes);
  const Result<> result = co_await device_.read(request.offset_bytes, into);
  if (result) {
    answer(data_reply(request, shape_.structured_replies, std::move(data)), charged_bytes);
  } else {
    buffers_.give(std::move(data));
    answer(request, result, charged_bytes);
  }
}

Task<void> Connection::serve_write(Request request, AlignedBuffer payload, std::size_t charged_bytes) {
  Result<> result;
  const std::span<const std::byte> from = payload.first(request.length_bytes);
  const WriteFlags flags{.force_unit_access = request.has(kCommandFua)};
  if (!from.empty()) result = co_await device_.write(request.offset_bytes, from, flags);
  buffers_.give(std::move(payload));
  answer(request, result, charged_bytes);
}

Task<void> Connection::serve_status(Request request) {
  const std::size_t most = request.has(kCommandReqOne) ? 1 : kMaxExtents;
  std::vector<ContextStatus> statuses;
  for (const auto& context : contexts_) {
    ContextStatus& status = statuses.emplace_back(context->id());
    const Result<> result =
        co_await context->describe(request.offset_bytes, request.length_bytes, most, status.stretches);
    if (!result) {
      answer(request, result, 0);
      co_return;
    }
  }
  answer(status_reply(request, statuses), 0);
}

Task<void> Connection::serve_other(Request request) {
  const Result<> result = co_await carry_out(request);
  answer(request, result, 0);
}

Task<Result<>> Connection::carry_out(Request request) {
  const bool durable = request.has(kCommandFua);
  Result<> result;
  if (request.command == Command::kFlush) {
    result = co_await device_.flush();
  } else if (request.length_bytes == 0) {
    co_return result;
  } else if (request.command == Command::kTrim) {
    const WriteFlags flags{.force_unit_access = durable};
    result = co_await device_.discard(request.offset_bytes, request.length_bytes, flags);
  } else if (request.command == Command::kWriteZeroes) {
    const ZeroFlags flags{.force_unit_access = durable, .no_hole = request.has(kCommandNoHole)};
    result = co_await device_.write_zeroes(request.offset_bytes, request.length_bytes, flags);
  } else {
    result = co_await warm_up(request);
  }
  co_return result;
}

// CACHE: the engine keeps no data in memory, but where the data is; that is brought in.
Task<Result<>> Connection::warm_up(Request request) {
  std::uint64_t offset_bytes = request.offset_bytes;
  const std::uint64_t end_bytes = offset_bytes + request.length_bytes;
  std::vector<Extent> extents;
  while (offset_bytes < end_bytes) {
    extents.clear();
    const Result<> result =
        co_await device_.extents(offset_bytes, end_bytes - offset_bytes, kMaxExtents, extents);
    if (!result) co_return result;
    if (extents.empty()) break;
    offset_bytes = extents.back().offset_bytes + extents.back().length_bytes;
  }
  co_return Result<>{};
}

void Connection::answer(Reply reply, std::size_t charged_bytes) {
  reply.charged_bytes = charged_bytes;
  sender_.push(std::move(reply));
}

void Connection::answer(const Request& request, const Result<>& result, std::size_t charged_bytes) {
  const bool structured = shape_.structured_replies;
  if (!result && result.error().kind == ErrorKind::kNoSpace && on_no_space) on_no_space();
  answer(result ? done_reply(request, structured)
                : error_reply(request, structured, wire_error(result.error()), result.error().text),
         charged_bytes);
}

}  // namespace coppice::nbd
