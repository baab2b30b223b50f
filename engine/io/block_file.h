// BlockFile: a file or block device of the pool, in requests of whole blocks. The seam under the engine: the
// system's in production, the simulator's in tests.
//
// Requests run in parallel and complete in any order; a request's memory outlives it. Threads: one scheduler.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "coppice/reactor.h"
#include "coppice/result.h"
#include "coppice/scheduler.h"
#include "coppice/types.h"

namespace coppice {

struct IoRequest {
  enum class Kind : std::uint8_t {
    kRead,
    kWrite,
    // What completed before this was submitted is durable when it succeeds (fdatasync). After one that failed
    // all later ones fail: the system forgets what it could not write, so a success would promise what is
    // lost.
    kSync,
    kZero,  // the range reads as zeroes, and stays backed by space
    // The range reads as zeroes, and its space goes back to the file system, or to the device where it can.
    // EOPNOTSUPP where it can't: discard() may.
    kPunch,
  };
  Kind kind = Kind::kRead;
  std::uint64_t offset_bytes = 0;
  std::byte* memory = nullptr;
  std::uint64_t length_bytes = 0;
  Latch* latch = nullptr;  // arrives when the request is done
  bool urgent = false;     // as in SystemCall; a sync always is
  int error = 0;           // errno, 0 after success. A read past the end is EIO, a short write ENOSPC
  // For the implementation.
  SystemCall call;
  class BlockFile* file = nullptr;
  std::uint64_t done_bytes = 0;
};

class BlockFile {
 public:
  virtual ~BlockFile() = default;
  virtual void submit(IoRequest& request) = 0;
  [[nodiscard]] virtual std::uint64_t size_bytes() const = 0;
  // Makes the file at least this long, with its space reserved. A block device can't be extended, but may
  // have grown: it is asked. Blocking.
  virtual Result<> extend(std::uint64_t size_bytes) = 0;
  // Backs a range inside the file with space again, after a punch. kNoSpace: nothing has changed. Blocking.
  virtual Result<> reserve(std::uint64_t offset_bytes, std::uint64_t length_bytes);
  // The first byte in [from, to) that was never written, or was punched, or `to`: writing there is slower.
  // Where it can't be known, `to`. Blocking.
  virtual std::uint64_t first_hole(std::uint64_t from_bytes, std::uint64_t to_bytes);
  // The first byte in [from, to) that may hold something, or `to`: what is before reads as zeroes. Where it
  // can't be known, `from`. Blocking.
  virtual std::uint64_t first_data(std::uint64_t from_bytes, std::uint64_t to_bytes);
  // What its file system could still give it; nothing for a block device.
  virtual std::optional<std::uint64_t> room_bytes();
  // Tells a block device that the range is not needed; its content is undefined then. Blocking.
  virtual Result<> discard(std::uint64_t offset_bytes, std::uint64_t length_bytes);
  // Whether the lock on the descriptor that carries the I/O was got. It frees when the last request of a
  // dead holder has landed.
  virtual Result<bool> try_lock() = 0;
  [[nodiscard]] virtual const std::string& path() const = 0;

  // A write completed since the last successful sync was submitted, or that sync has not completed yet: it
  // may be the one that covers the caller's writes, so the caller must not go on before it.
  [[nodiscard]] bool needs_sync() const { return written_ || syncs_in_flight_ > 0; }
  void note_write() { written_ = true; }
  // Called when a sync has failed, before who waits for it is told.
  void on_failed_sync(std::function<void(const Error&)> callback) { failed_sync_ = std::move(callback); }

 protected:
  // What was written counts as unsynced for good: the kernel forgets a failed write-back after reporting it
  // once.
  void note_failed_sync(const IoRequest& request);
  bool written_ = false;
  bool sync_failed_ = false;
  std::uint32_t syncs_in_flight_ = 0;
  std::function<void(const Error&)> failed_sync_;
};

struct BlockFileOptions {
  bool create = false;     // must not exist
  bool read_only = false;  // the lock is then shared with others that only read
  bool direct = true;      // O_DIRECT; fails with kUnsupported where it is not to be had
};
Result<std::unique_ptr<BlockFile>> open_block_file(Reactor& reactor, const std::string& path,
                                                   BlockFileOptions options);

// One request, awaited. Memory is 4 KiB aligned, offset and length multiples of 4 KiB.
Task<Result<>> read_blocks(BlockFile& file, std::uint64_t offset_bytes, std::span<std::byte> into);
enum class Urgency : std::uint8_t { kOrdinary, kUrgent };
Task<Result<>> write_blocks(BlockFile& file, std::uint64_t offset_bytes, std::span<const std::byte> from,
                            Urgency urgency = Urgency::kOrdinary);
Task<Result<>> zero_blocks(BlockFile& file, std::uint64_t offset_bytes, std::uint64_t length_bytes);
Task<Result<>> punch_blocks(BlockFile& file, std::uint64_t offset_bytes, std::uint64_t length_bytes);
// Returns at once where nothing was written since the last one.
Task<Result<>> sync_file(BlockFile& file);
Result<> to_result(const IoRequest& request);

}  // namespace coppice
