#include "nbd/block_status.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace coppice::nbd {

namespace {

enum class Asked : std::uint8_t { kAllocation, kDepth };

class AllocationStatus final : public StatusContext {
 public:
  AllocationStatus(BlockDevice& device, Asked asked)
      : StatusContext(asked == Asked::kDepth ? kAllocationDepthId : kBaseAllocationId),
        device_(device),
        asked_(asked) {}

  Task<Result<>> describe(std::uint64_t offset_bytes, std::uint64_t length_bytes, std::size_t most,
                          std::vector<Stretch>& into) override {
    std::vector<Extent> extents;
    Result<> found;
    if (asked_ == Asked::kDepth) {
      found = co_await device_.layers(offset_bytes, length_bytes, most, extents);
    } else {
      found = co_await device_.extents(offset_bytes, length_bytes, most, extents);
    }
    if (!found) co_return found;
    std::uint64_t left_bytes = length_bytes;
    for (const Extent& extent : extents) {
      const std::uint64_t covered = std::min(extent.length_bytes, left_bytes);
      if (covered == 0) break;
      left_bytes -= covered;
      into.push_back({.length_bytes = covered, .state = state_of(extent)});
    }
    if (into.empty()) co_return fail(ErrorKind::kIo, EIO, "no extents");
    co_return Result<>{};
  }

 private:
  [[nodiscard]] std::uint32_t state_of(const Extent& extent) const {
    if (asked_ == Asked::kDepth) return extent.depth;
    return extent.allocated ? 0 : kStateHole | kStateZero;
  }
  BlockDevice& device_;
  Asked asked_;
};

class DirtyStatus final : public StatusContext {
 public:
  DirtyStatus(Exports& exports, DirtyBitmap bitmap, std::unique_ptr<BlockDevice> attached, bool written)
      : StatusContext(bitmap.id),
        exports_(exports),
        bitmap_(std::move(bitmap)),
        attached_(std::move(attached)),
        written_(written) {}

  Task<Result<>> describe(std::uint64_t offset_bytes, std::uint64_t length_bytes, std::size_t most,
                          std::vector<Stretch>& into) override {
    const bool new_pass = written_ && offset_bytes < told_up_to_;
    if (!changes_ || new_pass) {
      auto changes = co_await exports_.changes(bitmap_.export_name, bitmap_.since);
      if (!changes) co_return fail(changes.error().kind, EIO, "the changes can't be told");
      changes_ = std::move(*changes);
    }
    append_dirty(*changes_, offset_bytes, length_bytes, most, into);
    told_up_to_ = offset_bytes;
    for (const Stretch& stretch : into) told_up_to_ += stretch.length_bytes;
    co_return Result<>{};
  }

 private:
  Exports& exports_;
  DirtyBitmap bitmap_;
  std::unique_ptr<BlockDevice> attached_;
  bool written_;
  std::optional<std::vector<DiffRange>> changes_;
  std::uint64_t told_up_to_ = 0;
};

std::uint64_t end_of(const DiffRange& range) {
  return range.offset_bytes + range.length_bytes;
}

}  // namespace

std::unique_ptr<StatusContext> make_allocation_status(BlockDevice& device) {
  return std::make_unique<AllocationStatus>(device, Asked::kAllocation);
}

std::unique_ptr<StatusContext> make_depth_status(BlockDevice& device) {
  return std::make_unique<AllocationStatus>(device, Asked::kDepth);
}

std::unique_ptr<StatusContext> make_dirty_status(Exports& exports, DirtyBitmap bitmap,
                                                 std::unique_ptr<BlockDevice> attached, bool written) {
  return std::make_unique<DirtyStatus>(exports, std::move(bitmap), std::move(attached), written);
}

void append_dirty(std::span<const DiffRange> changes, std::uint64_t offset_bytes, std::uint64_t length_bytes,
                  std::size_t most, std::vector<Stretch>& into) {
  const std::uint64_t end_bytes = offset_bytes + length_bytes;
  const auto add = [&into](std::uint64_t from, std::uint64_t to, bool dirty) {
    const std::uint32_t state = dirty ? kStateDirty : 0;
    // What became zeroes and what became data are neighbours in a diff, and one stretch here.
    if (!into.empty() && into.back().state == state) {
      into.back().length_bytes += to - from;
    } else {
      into.push_back({.length_bytes = to - from, .state = state});
    }
  };
  auto change = std::ranges::upper_bound(changes, offset_bytes, {}, end_of);
  for (std::uint64_t at = offset_bytes; at < end_bytes && into.size() <= most;) {
    const bool inside = change != changes.end() && change->offset_bytes <= at;
    const std::uint64_t next = change == changes.end() ? end_bytes
                               : inside                ? end_of(*change)
                                                       : change->offset_bytes;
    add(at, std::min(next, end_bytes), inside);
    at = next;
    if (inside) ++change;
  }
  if (into.size() > most) into.pop_back();
}

}  // namespace coppice::nbd
