#include "nbd/service.h"

#include <algorithm>
#include <utility>

namespace coppice::nbd {

namespace {

// Block status is answered in pieces of at most this many extents: 32 KiB on the wire.
constexpr std::size_t kMaxExtents = 2048;
// CACHE goes no further: the map of so much takes more memory than it is given.
constexpr std::uint64_t kMaxWarmedBytes = std::uint64_t{1} << 40;

}  // namespace

Service::Service(BlockDevice& device, ExportShape shape,
                 std::span<const std::unique_ptr<StatusContext>> contexts, BufferPool& buffers,
                 ReplySender& sender)
    : device_(device), shape_(shape), contexts_(contexts), buffers_(buffers), sender_(sender) {}

void Service::start(Request request, std::size_t charged_bytes) {
  if (request.command == Command::kRead) {
    spawn(serve_read(request, charged_bytes));
  } else if (request.command == Command::kBlockStatus) {
    Contexts all;
    for (const auto& context : contexts_) all.push_back(context.get());
    spawn(serve_status(request, std::move(all)));
  } else {
    spawn(serve_other(request));
  }
}

void Service::start_write(Request request, AlignedBuffer payload, std::size_t charged_bytes) {
  spawn(serve_write(request, std::move(payload), charged_bytes));
}

void Service::start_status(Request request, const std::vector<std::uint32_t>& ids) {
  Contexts chosen;
  for (const auto& context : contexts_) {
    if (std::ranges::find(ids, context->id()) != ids.end()) chosen.push_back(context.get());
  }
  if (chosen.size() == ids.size()) {
    spawn(serve_status(request, std::move(chosen)));
  } else {
    refuse(request, {WireError::kInvalid, "a metadata context that was not chosen"}, 0);
  }
}

void Service::refuse(const Request& request, const Refusal& refusal, std::size_t charged_bytes) {
  answer(error_reply(request, shape_.form, refusal.error, refusal.text), charged_bytes);
}

Task<void> Service::serve_read(Request request, std::size_t charged_bytes) {
  if (request.length_bytes == 0) {
    answer(request, {}, charged_bytes);
    co_return;
  }
  AlignedBuffer data = buffers_.take(request.length_bytes);
  const auto into = data.first(request.length_bytes);
  const Result<> result = co_await device_.read(request.offset_bytes, into);
  if (result) {
    answer(data_reply(request, shape_.form, std::move(data)), charged_bytes);
  } else {
    buffers_.give(std::move(data));
    answer(request, result, charged_bytes);
  }
}

Task<void> Service::serve_write(Request request, AlignedBuffer payload, std::size_t charged_bytes) {
  Result<> result;
  const std::span<const std::byte> from = payload.first(request.length_bytes);
  const WriteFlags flags{.force_unit_access = request.has(kCommandFua)};
  if (!from.empty()) result = co_await device_.write(request.offset_bytes, from, flags);
  buffers_.give(std::move(payload));
  answer(request, result, charged_bytes);
}

Task<void> Service::serve_status(Request request, Contexts contexts) {
  const std::size_t most = request.has(kCommandReqOne) ? 1 : kMaxExtents;
  std::vector<ContextStatus> statuses;
  for (StatusContext* const context : contexts) {
    ContextStatus& status = statuses.emplace_back(context->id());
    const Result<> result =
        co_await context->describe(request.offset_bytes, request.length_bytes, most, status.stretches);
    if (!result) {
      answer(request, result, 0);
      co_return;
    }
  }
  answer(status_reply(request, shape_.form, statuses), 0);
}

Task<void> Service::serve_other(Request request) {
  const Result<> result = co_await carry_out(request);
  answer(request, result, 0);
}

Task<Result<>> Service::carry_out(Request request) {
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
Task<Result<>> Service::warm_up(Request request) {
  std::uint64_t offset_bytes = request.offset_bytes;
  const std::uint64_t end_bytes = offset_bytes + std::min(request.length_bytes, kMaxWarmedBytes);
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

void Service::answer(Reply reply, std::size_t charged_bytes) {
  reply.charged_bytes = charged_bytes;
  sender_.push(std::move(reply));
}

void Service::answer(const Request& request, const Result<>& result, std::size_t charged_bytes) {
  if (!result && result.error().kind == ErrorKind::kNoSpace && on_no_space) on_no_space();
  answer(result ? done_reply(request, shape_.form)
                : error_reply(request, shape_.form, wire_error(result.error()), result.error().text),
         charged_bytes);
}

}  // namespace coppice::nbd
