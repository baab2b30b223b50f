// BlockDevice: a disk, or a snapshot of one, as its users see it. The only data-path interface of the engine;
// NBD, FUSE, import and export stand on it.
//
// Threads: all calls on the reactor that the store was opened with; any number may be in flight.
// Ranges: any byte offset and length within size_bytes(), at most kMaxRequestBytes for read and write; others
// are refused with kInvalid. Memory may have any alignment; 4 KiB aligned memory and ranges avoid a copy.
// Durability: a completed write survives the death of the process at once, and a power cut once a flush that
// was *issued after* its completion succeeded, or if it was issued with `force_unit_access`.
// Order: requests whose blocks do not overlap may complete in any order. Overlapping writes, zeroes and
// discards of up to kMaxRequestBytes are serialised as wholes, longer ones in pieces of that size.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "coppice/result.h"
#include "coppice/task.h"
#include "coppice/types.h"

namespace coppice {

struct WriteFlags {
  bool force_unit_access = false;  // durable before it completes
};

struct ZeroFlags {
  bool force_unit_access = false;
  bool no_hole = false;  // allocate the blocks, so that a later write there can't find the pool full
};

// A stretch of equal kind. `allocated` is false for what takes no space in the pool; such a range reads as
// zeroes. Allocated ranges may hold zeroes too.
struct Extent {
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  bool allocated = false;
  // 0 for what is not allocated. For what is, 1, or as layers() has it.
  std::uint32_t depth = allocated ? 1 : 0;
};

class BlockDevice {
 public:
  virtual ~BlockDevice() = default;  // detaches; no request may be in flight

  [[nodiscard]] virtual std::uint64_t size_bytes() const = 0;
  [[nodiscard]] virtual bool read_only() const = 0;

  virtual Task<Result<>> read(std::uint64_t offset_bytes, std::span<std::byte> into) = 0;
  virtual Task<Result<>> write(std::uint64_t offset_bytes, std::span<const std::byte> from,
                               WriteFlags flags) = 0;
  // `length_bytes` may be anything up to the size of the disk.
  virtual Task<Result<>> write_zeroes(std::uint64_t offset_bytes, std::uint64_t length_bytes,
                                      ZeroFlags flags) = 0;
  // The range reads as zeroes afterwards, also its partial first and last block.
  virtual Task<Result<>> discard(std::uint64_t offset_bytes, std::uint64_t length_bytes,
                                 WriteFlags flags) = 0;
  virtual Task<Result<>> flush() = 0;
  // Appends what covers the range, in order, without gaps; stops early after `max_extents`, but never before
  // the first. Neighbours of equal kind are merged.
  virtual Task<Result<>> extents(std::uint64_t offset_bytes, std::uint64_t length_bytes,
                                 std::size_t max_extents, std::vector<Extent>& into) = 0;
  // extents() by where they were written: depth 1 since the last snapshot on the way here, 2 between that one
  // and the one before, and so on; what shows from a base image is deeper than all of these. Removing a
  // snapshot makes one layer of two.
  virtual Task<Result<>> layers(std::uint64_t offset_bytes, std::uint64_t length_bytes,
                                std::size_t max_extents, std::vector<Extent>& into) {
    return extents(offset_bytes, length_bytes, max_extents, into);
  }
};

}  // namespace coppice
