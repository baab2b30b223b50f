#include "fuse/copy_range.h"

#include <algorithm>
#include <optional>
#include <vector>

namespace coppice::fuse {

namespace {

constexpr std::uint64_t kPieceBytes = std::uint64_t{1} << 20;
// Enough to keep a device busy: while one piece is written others are read.
constexpr unsigned kAtOnce = 4;
constexpr std::size_t kExtentsAtOnce = 1024;
// As much as is copied, or passed over, for one request: others of the same process wait for it.
constexpr std::uint64_t kMostCopied = std::uint64_t{256} << 20;
constexpr std::uint64_t kMostCopiedOfHoles = std::uint64_t{1} << 30;

// What of a range lies before the end.
std::uint64_t clipped(const DevicePlace& place, std::uint64_t length_bytes) {
  const std::uint64_t size_bytes = place.device->size_bytes();
  return place.offset_bytes >= size_bytes ? 0 : std::min(length_bytes, size_bytes - place.offset_bytes);
}

class Copy {
 public:
  Copy(Scheduler& scheduler, BufferPool& buffers, DevicePlace from, DevicePlace to)
      : buffers_(buffers), from_(from), to_(to), lanes_(scheduler) {}

  Task<Result<std::uint64_t>> run(std::uint64_t length_bytes) {
    std::vector<Extent> extents;
    const Result<> listed =
        co_await from_.device->extents(from_.offset_bytes, length_bytes, kExtentsAtOnce, extents);
    if (!listed) co_return std::unexpected(listed.error());
    cut(extents, length_bytes);
    for (unsigned lane = 0; lane < kAtOnce && lane < pieces_.size(); ++lane) {
      lanes_.add();
      spawn(work());
    }
    co_await lanes_.wait();
    if (!error_) co_return copied_;
    if (good_bytes_ == 0) co_return std::unexpected(*error_);
    co_return good_bytes_;
  }

 private:
  struct Piece {
    std::uint64_t offset_bytes;  // from the start of the copy on
    std::uint64_t length_bytes;
    bool hole;
  };

  void cut(const std::vector<Extent>& extents, std::uint64_t length_bytes) {
    std::uint64_t data_bytes = 0;
    for (const Extent& extent : extents) {
      std::uint64_t left = std::min(extent.length_bytes, length_bytes - copied_);
      while (left != 0 && data_bytes < kMostCopied) {
        const std::uint64_t length = extent.allocated ? std::min(left, kPieceBytes) : left;
        pieces_.push_back({copied_, length, !extent.allocated});
        copied_ += length;
        left -= length;
        if (extent.allocated) data_bytes += length;
      }
      if (left != 0) break;
    }
  }

  Task<void> work() {
    while (next_ < pieces_.size() && !error_) {
      const Piece piece = pieces_[next_++];
      const Result<> done = co_await copy(piece);
      if (!done && (!error_ || piece.offset_bytes < good_bytes_)) {
        error_ = done.error();
        good_bytes_ = piece.offset_bytes;
      }
    }
    lanes_.done();
  }

  Task<Result<>> copy(Piece piece) {
    const WriteFlags flags{};
    const std::uint64_t target = to_.offset_bytes + piece.offset_bytes;
    if (piece.hole) {
      const Result<> punched = co_await to_.device->discard(target, piece.length_bytes, flags);
      co_return punched;
    }
    const std::uint64_t source = from_.offset_bytes + piece.offset_bytes;
    AlignedBuffer buffer = buffers_.take(piece.length_bytes);
    const std::span<std::byte> bytes = buffer.first(piece.length_bytes);
    Result<> done = co_await from_.device->read(source, bytes);
    if (done) done = co_await to_.device->write(target, bytes, flags);
    buffers_.give(std::move(buffer));
    co_return done;
  }

  BufferPool& buffers_;
  DevicePlace from_;
  DevicePlace to_;
  WaitGroup lanes_;
  std::vector<Piece> pieces_;
  std::size_t next_ = 0;
  std::uint64_t copied_ = 0;      // if all goes well
  std::uint64_t good_bytes_ = 0;  // up to the first piece that failed
  std::optional<Error> error_;
};

}  // namespace

Task<Result<std::uint64_t>> copy_range(Scheduler& scheduler, BufferPool& buffers, DevicePlace from,
                                       DevicePlace to, std::uint64_t length_bytes) {
  const std::uint64_t length =
      std::min({length_bytes, kMostCopiedOfHoles, clipped(from, length_bytes), clipped(to, length_bytes)});
  if (length == 0) co_return std::uint64_t{0};
  Copy copy(scheduler, buffers, from, to);
  const auto copied = co_await copy.run(length);
  co_return copied;
}

}  // namespace coppice::fuse
