#include "formats/raw/raw_stream.h"

#include <algorithm>

#include "formats/chunk_slots.h"
#include "formats/descriptor_io.h"
#include "formats/raw/raw_reader.h"

namespace coppice::formats {
namespace {

// The disk grows once per window: a wide one keeps that rare.
constexpr std::size_t kWindowChunks = 16;

}  // namespace

RawStream::RawStream(Reactor& reactor, int descriptor) : reactor_(reactor), descriptor_(descriptor) {
  for (std::size_t i = 0; i < kWindowChunks; ++i) chunks_.emplace_back(kChunkBytes);
}

Task<Outcome<std::size_t>> RawStream::fill() {
  filled_bytes_ = 0;
  for (auto& chunk : chunks_) {
    auto got = co_await read_fully(reactor_, descriptor_, chunk.span(), kStreamOffset);
    if (!got) co_return std::unexpected(got.error());
    filled_bytes_ += *got;
    if (*got < kChunkBytes) break;
  }
  co_return filled_bytes_;
}

Task<Outcome<>> RawStream::store(BlockDevice& disk, std::string name, std::uint64_t offset_bytes) {
  const std::size_t count = (filled_bytes_ + kChunkBytes - 1) / kChunkBytes;
  Latch done(static_cast<std::uint32_t>(count));
  Outcome<> outcome;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t length = std::min(kChunkBytes, filled_bytes_ - i * kChunkBytes);
    spawn(store_chunk(disk, name, offset_bytes + i * kChunkBytes, chunks_[i].first(length), done, outcome));
  }
  co_await done;
  co_return outcome;
}

Task<void> RawStream::store_chunk(BlockDevice& disk, std::string name, std::uint64_t offset_bytes,
                                  std::span<const std::byte> bytes, Latch& done, Outcome<>& outcome) {
  auto written = co_await write_data(disk, name, offset_bytes, bytes);
  if (!written) outcome = std::move(written);
  done.arrive();
}

}  // namespace coppice::formats
