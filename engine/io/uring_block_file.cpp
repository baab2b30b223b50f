// The BlockFile of production: a file or block device through the reactor's io_uring.
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "io/block_file.h"
#include "io/ring.h"

namespace coppice {

namespace {

// The kernel takes at most 2 GiB in one request.
constexpr std::uint64_t kMaxTransferBytes = std::uint64_t{1} << 30;

class UringBlockFile final : public BlockFile {
 public:
  UringBlockFile(Reactor& reactor, int descriptor, std::string path, bool is_device, bool read_only,
                 std::uint64_t size)
      : reactor_(reactor),
        descriptor_(descriptor),
        path_(std::move(path)),
        is_device_(is_device),
        read_only_(read_only),
        size_bytes_(size) {}
  ~UringBlockFile() override { close(descriptor_); }

  void submit(IoRequest& request) override {
    request.file = this;
    request.error = 0;
    request.done_bytes = 0;
    request.operation.complete = [](RingOperation& operation) {
      auto* owner = reinterpret_cast<IoRequest*>(reinterpret_cast<std::byte*>(&operation) -
                                                 offsetof(IoRequest, operation));
      static_cast<UringBlockFile*>(owner->file)->on_complete(*owner);
    };
    // A sync covers what completed before it is submitted; a write that completes later sets the flag again.
    if (request.kind == IoRequest::Kind::kSync) {
      if (sync_failed_) {
        request.error = EIO;
        request.latch->arrive();
        return;
      }
      written_ = false;
      ++syncs_in_flight_;
    }
    enqueue(request);
  }

  [[nodiscard]] std::uint64_t size_bytes() const override { return size_bytes_; }
  [[nodiscard]] const std::string& path() const override { return path_; }

  Result<> extend(std::uint64_t size_bytes) override {
    if (size_bytes <= size_bytes_) return {};
    if (is_device_) return fail(ErrorKind::kNoSpace, ENOSPC, "the block device is full");
    const auto start = static_cast<off_t>(size_bytes_);
    const int error = posix_fallocate(descriptor_, start, static_cast<off_t>(size_bytes) - start);
    if (error == ENOSPC || error == EFBIG) {
      if (ftruncate(descriptor_, start) != 0)
        return fail(ErrorKind::kIo, errno, "the pool file can't be cut back");
      return fail(ErrorKind::kNoSpace, error, "the file system below the pool is full");
    }
    if (error != 0) return fail(ErrorKind::kIo, error, "the pool file can't be extended");
    size_bytes_ = size_bytes;
    written_ = true;
    return {};
  }

  Result<bool> try_lock() override {
    if (flock(descriptor_, (read_only_ ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0) return true;
    if (errno == EWOULDBLOCK) return false;
    return fail(ErrorKind::kIo, errno, "the pool can't be locked");
  }

 private:
  void enqueue(IoRequest& request) {
    io_uring_sqe* entry = reactor_.ring().next_entry();
    std::byte* memory = request.memory + request.done_bytes;
    const std::uint64_t offset = request.offset_bytes + request.done_bytes;
    const auto left = std::min(request.length_bytes - request.done_bytes, kMaxTransferBytes);
    switch (request.kind) {
      case IoRequest::Kind::kRead:
        io_uring_prep_read(entry, descriptor_, memory, static_cast<unsigned>(left), offset);
        break;
      case IoRequest::Kind::kWrite:
        io_uring_prep_write(entry, descriptor_, memory, static_cast<unsigned>(left), offset);
        break;
      case IoRequest::Kind::kSync:
        io_uring_prep_fsync(entry, descriptor_, IORING_FSYNC_DATASYNC);
        break;
      case IoRequest::Kind::kZero:
        io_uring_prep_fallocate(entry, descriptor_, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                static_cast<off_t>(offset), static_cast<off_t>(request.length_bytes));
        break;
    }
    io_uring_sqe_set_data(entry, &request.operation);
  }

  void on_complete(IoRequest& request) {
    const std::int32_t result = request.operation.result;
    const bool transfers = request.kind == IoRequest::Kind::kRead || request.kind == IoRequest::Kind::kWrite;
    if (result < 0) {
      if (result == -EINTR || result == -EAGAIN) return enqueue(request);
      request.error = -result;
      // The kernel forgets a failed write-back after reporting it once: the data must count as unsynced.
      if (request.kind == IoRequest::Kind::kSync) written_ = sync_failed_ = true;
    } else if (transfers) {
      request.done_bytes += static_cast<std::uint64_t>(result);
      if (result == 0) {
        request.error = request.kind == IoRequest::Kind::kRead ? EIO : ENOSPC;
      } else if (request.done_bytes < request.length_bytes) {
        return enqueue(request);
      }
    }
    if (request.kind == IoRequest::Kind::kWrite || request.kind == IoRequest::Kind::kZero) written_ = true;
    if (request.kind == IoRequest::Kind::kSync) {
      --syncs_in_flight_;
      if (sync_failed_ && request.error == 0) request.error = EIO;
    }
    request.latch->arrive();
  }

  Reactor& reactor_;
  int descriptor_;
  std::string path_;
  bool is_device_;
  bool read_only_;
  std::uint64_t size_bytes_;
};

Result<std::uint64_t> size_of(int descriptor, const struct stat& status) {
  if (!S_ISBLK(status.st_mode)) return static_cast<std::uint64_t>(status.st_size);
  std::uint64_t size = 0;
  if (ioctl(descriptor, BLKGETSIZE64, &size) != 0)
    return fail(ErrorKind::kIo, errno, "the device has no size");
  return size;
}

Error open_error(int error, bool direct) {
  if (error == ENOENT) return {ErrorKind::kNotFound, error, "is not there"};
  if (error == EEXIST) return {ErrorKind::kExists, error, "already exists"};
  if (error == EINVAL && direct) return {ErrorKind::kUnsupported, error, "O_DIRECT is not to be had"};
  if (error == EBUSY) return {ErrorKind::kBusy, error, "is in use by the system (mounted?)"};
  if (error == EACCES || error == EPERM) return {ErrorKind::kReadOnly, error, "permission denied"};
  if (error == EROFS) return {ErrorKind::kReadOnly, error, "is on a read-only medium"};
  return {ErrorKind::kIo, error, "can't be opened"};
}

}  // namespace

Result<std::unique_ptr<BlockFile>> open_block_file(Reactor& reactor, const std::string& path,
                                                   BlockFileOptions options) {
  int flags = O_CLOEXEC | (options.read_only ? O_RDONLY : O_RDWR);
  if (options.direct) flags |= O_DIRECT;
  struct stat status{};
  const bool is_device = stat(path.c_str(), &status) == 0 && S_ISBLK(status.st_mode);
  // O_EXCL on a block device keeps out file systems and other stores alike.
  if (is_device && !options.read_only) flags |= O_EXCL;
  if (options.create && !is_device) flags |= O_CREAT | O_EXCL;
  const int descriptor = open(path.c_str(), flags, 0600);
  if (descriptor < 0) return std::unexpected(open_error(errno, options.direct));
  if (fstat(descriptor, &status) != 0) {
    const int error = errno;
    close(descriptor);
    return fail(ErrorKind::kIo, error, "can't be examined");
  }
  auto size = size_of(descriptor, status);
  if (!size) {
    close(descriptor);
    return std::unexpected(size.error());
  }
  return std::make_unique<UringBlockFile>(reactor, descriptor, path, is_device, options.read_only, *size);
}

}  // namespace coppice
