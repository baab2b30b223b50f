// The data of files.
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "fuse/copy_range.h"
#include "fuse/file_system.h"

namespace coppice::fuse {

namespace {

std::int64_t now_unix_ms() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

std::unexpected<Error> lost() {
  return fail(ErrorKind::kIo, EIO, "the disk was lost when it was opened again");
}

// What of a range lies before the end.
std::uint64_t clipped(const BlockDevice& device, std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  const std::uint64_t size_bytes = device.size_bytes();
  return offset_bytes >= size_bytes ? 0 : std::min(length_bytes, size_bytes - offset_bytes);
}

}  // namespace

void FileSystem::note_change(const Handle& handle) {
  handle.file->dirty = true;
  handle.file->written_unix_ms = now_unix_ms();
  counted_.erase(handle.node);
}

Task<void> FileSystem::read(Reply reply, std::uint64_t handle, std::uint64_t offset_bytes,
                            std::size_t length_bytes) {
  OpenFile& file = *handle_of(handle).file;
  if (!file.try_enter()) co_await file.wait_to_enter();
  BlockDevice* device = file.device();
  AlignedBuffer buffer;
  std::span<std::byte> into;
  Result<> done = device == nullptr ? Result<>(lost()) : Result<>();
  if (done) {
    const std::uint64_t length = clipped(*device, offset_bytes, length_bytes);
    buffer = buffers_.take(length);
    into = buffer.first(length);
    done = co_await device->read(offset_bytes, into);
  }
  file.leave();
  if (done) {
    reply.data(into);
  } else {
    reply.error(done.error());
  }
  buffers_.give(std::move(buffer));
}

// A write that crosses the end is cut there; one behind it is refused: a disk doesn't grow by being written.
Task<void> FileSystem::write(Reply reply, std::uint64_t handle, std::uint64_t offset_bytes, Payload payload,
                             bool durable) {
  OpenFile& file = *handle_of(handle).file;
  if (!file.try_enter()) co_await file.wait_to_enter();
  BlockDevice* device = file.device();
  Result<> done = device == nullptr ? Result<>(lost()) : Result<>();
  bool behind_the_end = false;
  std::span<const std::byte> from;
  if (done) {
    from = payload.bytes.first(clipped(*device, offset_bytes, payload.bytes.size()));
    behind_the_end = from.empty() && !payload.bytes.empty();
    const WriteFlags flags{.force_unit_access = durable};
    if (!behind_the_end) done = co_await device->write(offset_bytes, from, flags);
  }
  note_change(handle_of(handle));
  file.leave();
  buffers_.give(std::move(payload.buffer));
  if (!done) {
    reply.error(done.error());
  } else if (behind_the_end) {
    reply.error(EFBIG);
  } else {
    reply.written(from.size());
  }
}

Task<void> FileSystem::flush(Reply reply, std::uint64_t handle, bool closing) {
  OpenFile& file = *handle_of(handle).file;
  if (!file.try_enter()) co_await file.wait_to_enter();
  BlockDevice* device = file.device();
  Result<> done = device == nullptr ? Result<>(lost()) : Result<>();
  if (done && (file.dirty || !closing)) {
    file.dirty = false;
    done = co_await device->flush();
    if (!done) file.dirty = true;
  }
  file.leave();
  if (done) {
    reply.done();
  } else {
    reply.error(done.error());
  }
}

// Holes are punched, and ranges zeroed so that they keep their space. To get space ahead, which the next
// snapshot would take away again, is not promised.
Task<void> FileSystem::allocate(Reply reply, std::uint64_t handle, int mode, std::uint64_t offset_bytes,
                                std::uint64_t length_bytes) {
  const int what = mode & ~FALLOC_FL_KEEP_SIZE;
  const bool punch = what == FALLOC_FL_PUNCH_HOLE;
  const bool zero = what == FALLOC_FL_ZERO_RANGE;
  const Handle& opened = handle_of(handle);
  if ((!punch && !zero) || opened.access == Access::kReadOnly) {
    reply.error(punch || zero ? EBADF : EOPNOTSUPP);
    co_return;
  }
  OpenFile& file = *opened.file;
  if (!file.try_enter()) co_await file.wait_to_enter();
  BlockDevice* device = file.device();
  Result<> done = device == nullptr ? Result<>(lost()) : Result<>();
  bool too_long = false;
  if (done) {
    const std::uint64_t length = clipped(*device, offset_bytes, length_bytes);
    // Zeroes behind the end would make the file longer.
    too_long = zero && length < length_bytes && (mode & FALLOC_FL_KEEP_SIZE) == 0;
    if (length != 0 && !too_long) {
      const WriteFlags punch_flags{};
      const ZeroFlags zero_flags{.no_hole = true};
      if (punch) {
        done = co_await device->discard(offset_bytes, length, punch_flags);
      } else {
        done = co_await device->write_zeroes(offset_bytes, length, zero_flags);
      }
    }
  }
  note_change(opened);
  file.leave();
  if (!done) {
    reply.error(done.error());
  } else {
    reply.error(too_long ? EFBIG : 0);
  }
}

Task<void> FileSystem::find(Reply reply, std::uint64_t handle, std::uint64_t offset_bytes, Seek what) {
  OpenFile& file = *handle_of(handle).file;
  if (!file.try_enter()) co_await file.wait_to_enter();
  BlockDevice* device = file.device();
  Result<std::uint64_t> found = lost();
  if (device != nullptr) found = co_await seek(*device, offset_bytes, what);
  file.leave();
  if (found) {
    reply.position(*found);
  } else {
    reply.error(found.error().kind == ErrorKind::kNotFound ? ENXIO : errno_of(found.error()));
  }
}

Task<void> FileSystem::copy(Reply reply, Place from, Place to, std::uint64_t length_bytes) {
  OpenFile& source = *handle_of(from.handle).file;
  OpenFile& target = *handle_of(to.handle).file;
  // Both at once: one that waits inside the first could wait for itself.
  while (true) {
    if (!source.try_enter()) {
      co_await source.wait_to_enter();
    }
    if (target.try_enter()) break;
    source.leave();
    co_await target.wait_to_enter();
    target.leave();
  }
  Result<std::uint64_t> copied = lost();
  bool behind_the_end = false;
  if (source.device() != nullptr && target.device() != nullptr) {
    behind_the_end = to.offset_bytes >= target.device()->size_bytes() &&
                     from.offset_bytes < source.device()->size_bytes() && length_bytes != 0;
    const DevicePlace place_from{source.device(), from.offset_bytes};
    const DevicePlace place_to{target.device(), to.offset_bytes};
    copied = co_await copy_range(reactor_, buffers_, place_from, place_to, length_bytes);
  }
  note_change(handle_of(to.handle));
  target.leave();
  source.leave();
  if (copied && !behind_the_end) {
    reply.written(*copied);
  } else {
    reply.error(behind_the_end ? EFBIG : errno_of(copied.error()));
  }
}

}  // namespace coppice::fuse
