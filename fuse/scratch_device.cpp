#include "fuse/scratch_device.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace coppice::fuse {

namespace {

// What of the block lies in the range.
struct Part {
  std::uint64_t block;
  std::size_t in_block;
  std::size_t length;
};

Part part_at(std::uint64_t offset_bytes, std::uint64_t end_bytes) {
  const std::uint64_t block = offset_bytes / kBlockBytes;
  const std::uint64_t next = std::min((block + 1) * kBlockBytes, end_bytes);
  return {block, offset_bytes % kBlockBytes, next - offset_bytes};
}

}  // namespace

Task<Result<>> ScratchDevice::read(std::uint64_t offset_bytes, std::span<std::byte> into) {
  const Result<> done = co_await below_->read(offset_bytes, into);
  if (!done || written_.empty()) co_return done;
  const std::uint64_t end_bytes = offset_bytes + into.size();
  for (std::uint64_t at = offset_bytes; at < end_bytes;) {
    const Part part = part_at(at, end_bytes);
    const auto found = written_.find(part.block);
    if (found != written_.end())
      std::memcpy(into.data() + (at - offset_bytes), found->second.data() + part.in_block, part.length);
    at += part.length;
  }
  co_return done;
}

// Room for a block; what is not written whole is first filled with what it holds.
Task<Result<std::byte*>> ScratchDevice::block_to_write(std::uint64_t block, bool whole) {
  const auto known = written_.find(block);
  if (known != written_.end()) co_return known->second.data();
  if (written_.size() * kBlockBytes >= kMostBytes)
    co_return fail(ErrorKind::kNoSpace, ENOSPC, "more is written over a snapshot than memory is given for");
  AlignedBuffer made(kBlockBytes);
  if (!whole) {
    const std::uint64_t begin = block * kBlockBytes;
    const std::span<std::byte> into = made.first(std::min<std::uint64_t>(kBlockBytes, size_bytes() - begin));
    const Result<> filled = co_await below_->read(begin, into);
    if (!filled) co_return std::unexpected(filled.error());
  }
  // Another write may have been here meanwhile: its block stays.
  co_return written_.try_emplace(block, std::move(made)).first->second.data();
}

Task<Result<>> ScratchDevice::put(std::uint64_t offset_bytes, std::uint64_t length_bytes,
                                  const std::byte* from) {
  const std::uint64_t end_bytes = offset_bytes + length_bytes;
  for (std::uint64_t at = offset_bytes; at < end_bytes;) {
    const Part part = part_at(at, end_bytes);
    const bool whole = part.length == kBlockBytes;
    const auto into = co_await block_to_write(part.block, whole);
    if (!into) co_return std::unexpected(into.error());
    if (from == nullptr) {
      std::memset(*into + part.in_block, 0, part.length);
    } else {
      std::memcpy(*into + part.in_block, from + (at - offset_bytes), part.length);
    }
    at += part.length;
  }
  co_return Result<>{};
}

Task<Result<>> ScratchDevice::write(std::uint64_t offset_bytes, std::span<const std::byte> from, WriteFlags) {
  const Result<> done = co_await put(offset_bytes, from.size(), from.data());
  co_return done;
}

Task<Result<>> ScratchDevice::write_zeroes(std::uint64_t offset_bytes, std::uint64_t length_bytes,
                                           ZeroFlags) {
  const Result<> done = co_await put(offset_bytes, length_bytes, nullptr);
  co_return done;
}

Task<Result<>> ScratchDevice::discard(std::uint64_t offset_bytes, std::uint64_t length_bytes, WriteFlags) {
  const Result<> done = co_await put(offset_bytes, length_bytes, nullptr);
  co_return done;
}

Task<Result<>> ScratchDevice::flush() {
  co_return Result<>{};
}

Task<Result<>> ScratchDevice::extents(std::uint64_t offset_bytes, std::uint64_t length_bytes,
                                      std::size_t max_extents, std::vector<Extent>& into) {
  const Result<> done = co_await below_->extents(offset_bytes, length_bytes, max_extents, into);
  co_return done;
}

}  // namespace coppice::fuse
