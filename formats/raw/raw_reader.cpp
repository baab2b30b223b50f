#include "formats/raw/raw_reader.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "coppice/types.h"
#include "formats/descriptor_io.h"
#include "formats/zero_runs.h"

namespace coppice::formats {

Task<Outcome<>> write_data(BlockDevice& disk, std::string name, std::uint64_t offset_bytes,
                           std::span<const std::byte> bytes) {
  const auto runs = data_runs(bytes);
  for (const auto& run : runs) {
    const auto data = bytes.subspan(run.offset, run.length);
    auto written = co_await disk.write(offset_bytes + run.offset, data, WriteFlags{});
    if (!written) {
      const bool full = written.error().kind == ErrorKind::kNoSpace;
      const char* remedy = full ? ": remove something (`coppice du` tells what that frees), then again" : "";
      co_return refuse(written.error().kind, "disk " + name + ": " + written.error().text + remedy);
    }
  }
  co_return Outcome<>{};
}

Task<Outcome<>> RawReader::copy_to(BlockDevice& disk, std::string name) {
  name_ = std::move(name);
  while (!failure_) {
    const auto chunk = next_chunk();
    if (!chunk) break;
    AlignedBuffer* buffer = co_await slots_.take();
    if (!hooks_.still_wanted()) failure_ = Failure{ErrorKind::kBusy, "the copy was called off"};
    spawn(copy_chunk(disk, *chunk, buffer));
    hooks_.report(chunk->offset_bytes, image_.size_bytes);
  }
  co_await slots_.drain();
  if (failure_) co_return std::unexpected(*failure_);
  hooks_.report(image_.size_bytes, image_.size_bytes);
  co_return Outcome<>{};
}

std::optional<RawReader::Chunk> RawReader::next_chunk() {
  if (position_ >= data_end_) find_data();
  if (position_ >= image_.size_bytes) return std::nullopt;
  // Chunks end on multiples of their size, so that all but the first of a stretch are aligned.
  const auto end = std::min(data_end_, round_down(position_, kChunkBytes) + kChunkBytes);
  const Chunk chunk{position_, static_cast<std::size_t>(end - position_)};
  position_ = end;
  return chunk;
}

void RawReader::find_data() {
  data_end_ = image_.size_bytes;
  if (image_.kind != ImageKind::kFile || position_ >= image_.size_bytes) return;
  const off_t data = lseek(image_.descriptor, static_cast<off_t>(position_), SEEK_DATA);
  if (data < 0) {
    // ENXIO: only a hole is left. Anything else: a file system that can't tell, so all of it is data.
    if (errno == ENXIO) position_ = image_.size_bytes;
    return;
  }
  position_ = std::max(position_, round_down(static_cast<std::uint64_t>(data), kBlockBytes));
  const off_t hole = lseek(image_.descriptor, data, SEEK_HOLE);
  if (hole <= data) return;
  data_end_ = std::min(round_up(static_cast<std::uint64_t>(hole), kBlockBytes), image_.size_bytes);
}

Task<void> RawReader::copy_chunk(BlockDevice& disk, Chunk chunk, AlignedBuffer* buffer) {
  if (!failure_) {
    auto moved = co_await move_chunk(disk, chunk, buffer->first(chunk.length_bytes));
    if (!moved && !failure_) failure_ = moved.error();
  }
  slots_.give_back(buffer);
}

Task<Outcome<>> RawReader::move_chunk(BlockDevice& disk, Chunk chunk, std::span<std::byte> bytes) {
  auto got = co_await read_fully(reactor_, image_.descriptor, bytes, chunk.offset_bytes);
  if (!got) co_return std::unexpected(got.error());
  if (*got < bytes.size()) {
    co_return refuse(ErrorKind::kIo, "the image became shorter while it was read: import it again");
  }
  auto written = co_await write_data(disk, name_, chunk.offset_bytes, bytes);
  co_return written;
}

}  // namespace coppice::formats
