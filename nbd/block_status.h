// What BLOCK_STATUS tells of an export: one object for each metadata context that the client has chosen.
//
// They live as long as the connection, on the reactor's thread. `base:allocation` and `qemu:allocation-depth`
// ask the device: where the one tells of a hole the depth is 0.
// `qemu:dirty-bitmap:SNAP` tells what differs from a snapshot; the snapshot is attached meanwhile, so that
// nobody removes it under a backup.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "nbd/exports.h"
#include "nbd/protocol.h"
#include "nbd/reply.h"

namespace coppice::nbd {

class StatusContext {
 public:
  explicit StatusContext(std::uint32_t id) : id_(id) {}
  virtual ~StatusContext() = default;
  [[nodiscard]] std::uint32_t id() const { return id_; }
  // Appends what covers the range, in order, without gaps, at most `most` stretches but always one.
  virtual Task<Result<>> describe(std::uint64_t offset_bytes, std::uint64_t length_bytes, std::size_t most,
                                  std::vector<Stretch>& into) = 0;

 private:
  std::uint32_t id_;
};
using StatusContexts = std::vector<std::unique_ptr<StatusContext>>;

std::unique_ptr<StatusContext> make_allocation_status(BlockDevice& device);
std::unique_ptr<StatusContext> make_depth_status(BlockDevice& device);

// A dirty bitmap, of which the server is asked as `qemu:dirty-bitmap:<since>`.
struct DirtyBitmap {
  std::uint32_t id = 0;
  std::string export_name;
  std::string since;  // a snapshot
};
// `attached` is the snapshot. Of an export that is written the bitmap is that of the moment when a pass over
// it began: a request that starts before the end of the last one begins a new pass.
std::unique_ptr<StatusContext> make_dirty_status(Exports& exports, DirtyBitmap bitmap,
                                                 std::unique_ptr<BlockDevice> attached, bool written);

// `changes` as stretches of dirty and clean blocks of a range: pure.
void append_dirty(std::span<const DiffRange> changes, std::uint64_t offset_bytes, std::uint64_t length_bytes,
                  std::size_t most, std::vector<Stretch>& into);

}  // namespace coppice::nbd
