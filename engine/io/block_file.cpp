#include "io/block_file.h"

#include <cerrno>

namespace coppice {

Result<> to_result(const IoRequest& request) {
  if (request.error == 0) return {};
  if (request.error == ENOSPC)
    return fail(ErrorKind::kNoSpace, ENOSPC, "the file system below the pool is full");
  return fail(ErrorKind::kIo, request.error, "a pool device failed");
}

void BlockFile::note_failed_sync(const IoRequest& request) {
  written_ = sync_failed_ = true;
  if (failed_sync_) failed_sync_(to_result(request).error());
}

Result<> BlockFile::reserve(std::uint64_t, std::uint64_t) {
  return {};
}
std::uint64_t BlockFile::first_hole(std::uint64_t, std::uint64_t to_bytes) {
  return to_bytes;
}
std::uint64_t BlockFile::first_data(std::uint64_t from_bytes, std::uint64_t) {
  return from_bytes;
}
std::optional<std::uint64_t> BlockFile::room_bytes() {
  return std::nullopt;
}
Result<> BlockFile::discard(std::uint64_t, std::uint64_t) {
  return fail(ErrorKind::kUnsupported, EOPNOTSUPP, "not a block device");
}

namespace {

Task<Result<>> perform(BlockFile& file, IoRequest::Kind kind, std::uint64_t offset_bytes, std::byte* memory,
                       std::uint64_t length_bytes, Urgency urgency = Urgency::kOrdinary) {
  Latch latch(1);
  IoRequest request;
  request.kind = kind;
  request.offset_bytes = offset_bytes;
  request.memory = memory;
  request.length_bytes = length_bytes;
  request.latch = &latch;
  request.urgent = urgency == Urgency::kUrgent;
  file.submit(request);
  co_await latch;
  co_return to_result(request);
}

}  // namespace

Task<Result<>> read_blocks(BlockFile& file, std::uint64_t offset_bytes, std::span<std::byte> into) {
  return perform(file, IoRequest::Kind::kRead, offset_bytes, into.data(), into.size());
}

Task<Result<>> write_blocks(BlockFile& file, std::uint64_t offset_bytes, std::span<const std::byte> from,
                            Urgency urgency) {
  return perform(file, IoRequest::Kind::kWrite, offset_bytes, const_cast<std::byte*>(from.data()),
                 from.size(), urgency);
}

Task<Result<>> zero_blocks(BlockFile& file, std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  return perform(file, IoRequest::Kind::kZero, offset_bytes, nullptr, length_bytes);
}

Task<Result<>> punch_blocks(BlockFile& file, std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  return perform(file, IoRequest::Kind::kPunch, offset_bytes, nullptr, length_bytes);
}

Task<Result<>> sync_file(BlockFile& file) {
  if (!file.needs_sync()) co_return Result<>{};
  auto synced = co_await perform(file, IoRequest::Kind::kSync, 0, nullptr, 0);
  co_return synced;
}

}  // namespace coppice
