#include "formats/raw/raw_writer.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "coppice/bytes.h"
#include "coppice/types.h"
#include "formats/descriptor_io.h"
#include "formats/zero_runs.h"

namespace coppice::formats {
namespace {

constexpr std::size_t kExtentsAtOnce = 1024;

}  // namespace

Task<Outcome<>> RawWriter::copy() {
  if (image_.kind == ImageKind::kFile) {
    auto copied = co_await copy_to_file();
    co_return copied;
  }
  if (image_.kind == ImageKind::kBlockDevice) {
    auto copied = co_await copy_to_device();
    co_return copied;
  }
  auto copied = co_await copy_to_stream();
  co_return copied;
}

// The file is cut to nothing and grown again, so whatever is not written below is a hole.
Task<Outcome<>> RawWriter::copy_to_file() {
  const std::uint64_t size = disk_.size_bytes();
  if (ftruncate(image_.descriptor, 0) != 0 || ftruncate(image_.descriptor, static_cast<off_t>(size)) != 0) {
    co_return image_failure(errno, "making it " + format_size(size) + " long");
  }
  std::vector<Extent> extents;
  for (std::uint64_t offset = 0; offset < size && !failure_;) {
    extents.clear();
    auto asked = co_await disk_.extents(offset, size - offset, kExtentsAtOnce, extents);
    if (!asked) {
      fail(refuse(asked.error(), name_).error());
    } else if (extents.empty()) {
      fail({ErrorKind::kCorrupt, name_ + ": no extent covers byte " + std::to_string(offset)});
    }
    for (const auto& extent : extents) {
      if (extent.allocated) co_await copy_range(extent.offset_bytes, extent.length_bytes);
      offset = extent.offset_bytes + extent.length_bytes;
    }
  }
  auto finished = co_await finish();
  co_return finished;
}

Task<Outcome<>> RawWriter::copy_to_device() {
  const std::uint64_t size = disk_.size_bytes();
  if (image_.size_bytes < size) {
    co_return refuse(ErrorKind::kNoSpace, "the image's device holds " + format_size(image_.size_bytes) +
                                              ", " + name_ + " needs " + format_size(size) +
                                              ": export to a larger one");
  }
  co_await copy_range(0, size);
  auto finished = co_await finish();
  co_return finished;
}

// Reads run side by side, a window of them at a time; the stream takes their bytes in order.
Task<Outcome<>> RawWriter::copy_to_stream() {
  const std::uint64_t size = disk_.size_bytes();
  std::vector<AlignedBuffer> window;
  for (std::size_t i = 0; i < kChunksInFlight; ++i) window.emplace_back(kChunkBytes);
  for (std::uint64_t offset = 0; offset < size && !failure_; offset += kChunksInFlight * kChunkBytes) {
    const auto length = std::min<std::uint64_t>(kChunksInFlight * kChunkBytes, size - offset);
    const auto count = static_cast<std::size_t>((length + kChunkBytes - 1) / kChunkBytes);
    const auto part = [&](std::size_t i) {
      return window[i].first(
          static_cast<std::size_t>(std::min<std::uint64_t>(kChunkBytes, length - i * kChunkBytes)));
    };
    Latch done(static_cast<std::uint32_t>(count));
    for (std::size_t i = 0; i < count; ++i) spawn(read_ahead(offset + i * kChunkBytes, part(i), done));
    co_await done;
    for (std::size_t i = 0; i < count && !failure_; ++i) {
      auto written = co_await write_fully(reactor_, image_.descriptor, part(i), kStreamOffset);
      if (!written) fail(written.error());
    }
    report(offset);
  }
  auto finished = co_await finish();
  co_return finished;
}

Task<void> RawWriter::read_ahead(std::uint64_t offset_bytes, std::span<std::byte> bytes, Latch& done) {
  auto read = co_await disk_.read(offset_bytes, bytes);
  if (!read) fail(refuse(read.error(), name_).error());
  done.arrive();
}

Task<void> RawWriter::copy_range(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  const std::uint64_t end = offset_bytes + length_bytes;
  for (std::uint64_t offset = offset_bytes; offset < end && !failure_;) {
    const std::uint64_t stop = std::min(end, round_down(offset, kChunkBytes) + kChunkBytes);
    AlignedBuffer* buffer = co_await slots_.take();
    spawn(copy_chunk(offset, buffer->first(static_cast<std::size_t>(stop - offset)), buffer));
    report(offset);
    offset = stop;
  }
}

Task<void> RawWriter::copy_chunk(std::uint64_t offset_bytes, std::span<std::byte> bytes,
                                 AlignedBuffer* buffer) {
  if (!failure_) {
    auto moved = co_await move_chunk(offset_bytes, bytes);
    if (!moved) fail(moved.error());
  }
  slots_.give_back(buffer);
}

Task<Outcome<>> RawWriter::move_chunk(std::uint64_t offset_bytes, std::span<std::byte> bytes) {
  auto read = co_await disk_.read(offset_bytes, bytes);
  if (!read) co_return refuse(read.error(), name_);
  std::vector<Run> runs{{0, bytes.size()}};
  if (image_.kind == ImageKind::kFile) runs = data_runs(bytes);
  for (const auto& run : runs) {
    const auto data = bytes.subspan(run.offset, run.length);
    auto written = co_await write_fully(reactor_, image_.descriptor, data, offset_bytes + run.offset);
    if (!written) co_return std::unexpected(written.error());
  }
  co_return Outcome<>{};
}

void RawWriter::report(std::uint64_t done_bytes) {
  if (!hooks_.still_wanted()) fail({ErrorKind::kBusy, "the copy was called off"});
  hooks_.report(done_bytes, disk_.size_bytes());
}

Task<Outcome<>> RawWriter::finish() {
  co_await slots_.drain();
  if (failure_) co_return std::unexpected(*failure_);
  hooks_.report(disk_.size_bytes(), disk_.size_bytes());
  co_return Outcome<>{};
}

}  // namespace coppice::formats
