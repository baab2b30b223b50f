// The BlockFile of production: a file or block device through the reactor.
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "io/block_file.h"

namespace coppice {

namespace {

// The kernel takes at most 2 GiB in one request.
constexpr std::uint64_t kMaxTransferBytes = std::uint64_t{1} << 30;

class SystemBlockFile final : public BlockFile {
 public:
  SystemBlockFile(Reactor& reactor, int descriptor, std::string path, bool is_device, bool read_only,
                  std::uint64_t size)
      : reactor_(reactor),
        descriptor_(descriptor),
        path_(std::move(path)),
        is_device_(is_device),
        read_only_(read_only),
        size_bytes_(size) {
    reactor_.know_file(descriptor_);
  }
  SystemBlockFile(const SystemBlockFile&) = delete;
  SystemBlockFile& operator=(const SystemBlockFile&) = delete;
  ~SystemBlockFile() override {
    reactor_.forget_file(descriptor_);
    close(descriptor_);
  }

  void submit(IoRequest& request) override {
    request.file = this;
    request.error = 0;
    request.done_bytes = 0;
    request.call.complete = [](SystemCall& call) {
      auto* owner =
          reinterpret_cast<IoRequest*>(reinterpret_cast<std::byte*>(&call) - offsetof(IoRequest, call));
      static_cast<SystemBlockFile*>(owner->file)->on_complete(*owner);
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
    if (is_device_) return extend_device(size_bytes);
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

  Result<> reserve(std::uint64_t offset_bytes, std::uint64_t length_bytes) override {
    if (is_device_) return {};
    // Not posix_fallocate: where the file system has no such call that one writes.
    const int error = fallocate(descriptor_, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset_bytes),
                                static_cast<off_t>(length_bytes)) == 0
                          ? 0
                          : errno;
    if (error == 0 || error == EOPNOTSUPP) return {};
    if (error == ENOSPC) return fail(ErrorKind::kNoSpace, error, "the file system below the pool is full");
    return fail(ErrorKind::kIo, error, "the pool file can't have its space back");
  }

  std::uint64_t first_hole(std::uint64_t from_bytes, std::uint64_t to_bytes) override {
    if (is_device_) return to_bytes;
    const off_t hole = lseek(descriptor_, static_cast<off_t>(from_bytes), SEEK_HOLE);
    return hole < 0 ? to_bytes : std::min(static_cast<std::uint64_t>(hole), to_bytes);
  }

  std::uint64_t first_data(std::uint64_t from_bytes, std::uint64_t to_bytes) override {
    if (is_device_) return from_bytes;
    const off_t data = lseek(descriptor_, static_cast<off_t>(from_bytes), SEEK_DATA);
    if (data < 0) return errno == ENXIO ? to_bytes : from_bytes;
    return std::min(static_cast<std::uint64_t>(data), to_bytes);
  }

  std::optional<std::uint64_t> room_bytes() override {
    struct statvfs system{};
    if (is_device_ || fstatvfs(descriptor_, &system) != 0) return std::nullopt;
    return std::uint64_t{system.f_bavail} * system.f_frsize;
  }

  Result<> discard(std::uint64_t offset_bytes, std::uint64_t length_bytes) override {
    std::array<std::uint64_t, 2> range = {offset_bytes, length_bytes};
    if (is_device_ && ioctl(descriptor_, BLKDISCARD, range.data()) == 0) return {};
    return fail(ErrorKind::kUnsupported, EOPNOTSUPP, "the pool's device takes no discards");
  }

  Result<bool> try_lock() override {
    if (flock(descriptor_, (read_only_ ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0) return true;
    if (errno == EWOULDBLOCK) return false;
    return fail(ErrorKind::kIo, errno, "the pool can't be locked");
  }

 private:
  Result<> extend_device(std::uint64_t size_bytes) {
    std::uint64_t now = 0;
    if (ioctl(descriptor_, BLKGETSIZE64, &now) == 0) size_bytes_ = std::max(size_bytes_, now);
    if (size_bytes <= size_bytes_) return {};
    return fail(ErrorKind::kNoSpace, ENOSPC, "the block device is full");
  }

  void enqueue(IoRequest& request) {
    SystemCall& call = request.call;
    call.descriptor = descriptor_;
    call.urgent = request.urgent || request.kind == IoRequest::Kind::kSync;
    call.address = request.memory + request.done_bytes;
    call.offset = request.offset_bytes + request.done_bytes;
    call.length = request.length_bytes - request.done_bytes;
    switch (request.kind) {
      case IoRequest::Kind::kRead:
      case IoRequest::Kind::kWrite:
        call.kind =
            request.kind == IoRequest::Kind::kRead ? SystemCall::Kind::kRead : SystemCall::Kind::kWrite;
        call.length = std::min(call.length, kMaxTransferBytes);
        break;
      case IoRequest::Kind::kSync:
        call.kind = SystemCall::Kind::kSync;
        break;
      case IoRequest::Kind::kZero:
        call.kind = SystemCall::Kind::kAllocate;
        call.flags = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
        break;
      case IoRequest::Kind::kPunch:
        call.kind = SystemCall::Kind::kAllocate;
        call.flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        break;
    }
    reactor_.submit(call);
  }

  void on_complete(IoRequest& request) {
    const std::int32_t result = request.call.result;
    const bool transfers = request.kind == IoRequest::Kind::kRead || request.kind == IoRequest::Kind::kWrite;
    if (result < 0) {
      if (result == -EINTR || result == -EAGAIN) return enqueue(request);
      request.error = -result;
      if (request.kind == IoRequest::Kind::kSync) note_failed_sync(request);
    } else if (transfers) {
      request.done_bytes += static_cast<std::uint64_t>(result);
      if (result == 0) {
        request.error = request.kind == IoRequest::Kind::kRead ? EIO : ENOSPC;
      } else if (request.done_bytes < request.length_bytes) {
        return enqueue(request);
      }
    }
    if (request.kind != IoRequest::Kind::kRead && request.kind != IoRequest::Kind::kSync) written_ = true;
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
  return std::make_unique<SystemBlockFile>(reactor, descriptor, path, is_device, options.read_only, *size);
}

}  // namespace coppice
