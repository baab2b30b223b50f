#include "disk/device.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "coppice/aligned_buffer.h"
#include "disk/held_range.h"
#include "disk/read_path.h"
#include "disk/write_path.h"

namespace coppice {

namespace {

// Zeroes are written in pieces of this size where blocks must be allocated.
constexpr std::uint64_t kZeroBufferBytes = std::uint64_t{1} << 20;
constexpr std::size_t kLeavesAtOnce = 64;

std::unexpected<Error> out_of_range() {
  return fail(ErrorKind::kInvalid, EINVAL, "beyond the end of the disk");
}
std::unexpected<Error> refused_write() {
  return fail(ErrorKind::kReadOnly, EPERM, "opened read-only");
}

struct BlockRange {
  BlockIndex first;
  std::uint64_t count = 0;
  std::uint64_t head_bytes = 0;  // of the first block, before the range
  [[nodiscard]] std::uint64_t bytes() const { return count * kBlockBytes; }
};

BlockRange covering(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t first = offset / kBlockBytes;
  const std::uint64_t end = round_up(offset + length, kBlockBytes) / kBlockBytes;
  return {BlockIndex{first}, end - first, offset % kBlockBytes};
}

bool whole_blocks(std::uint64_t offset, std::uint64_t length) {
  return offset % kBlockBytes == 0 && length % kBlockBytes == 0;
}

class SnapshotDevice final : public BlockDevice {
 public:
  SnapshotDevice(Parts& parts, NodeId node, std::function<void()> on_close)
      : parts_(parts),
        node_(node),
        view_(parts.tree.view_of(*parts.tree.node(node))),
        size_bytes_(parts.tree.node(node)->value.size_bytes),
        on_close_(std::move(on_close)) {}
  ~SnapshotDevice() override { on_close_(); }

  [[nodiscard]] std::uint64_t size_bytes() const override { return size_bytes_; }
  [[nodiscard]] bool read_only() const override { return true; }

  Task<Result<>> read(std::uint64_t offset, std::span<std::byte> into) override {
    if (offset > size_bytes_ || into.size() > size_bytes_ - offset) co_return out_of_range();
    if (into.empty()) co_return Result<>{};
    if (whole_blocks(offset, into.size()) && is_block_aligned(into.data())) {
      auto read = co_await read_snapshot(parts_, view_, BlockIndex{offset / kBlockBytes}, into);
      co_return read;
    }
    const BlockRange range = covering(offset, into.size());
    AlignedBuffer blocks(range.bytes());
    auto read = co_await read_snapshot(parts_, view_, range.first, blocks.span());
    if (read) std::memcpy(into.data(), blocks.data() + range.head_bytes, into.size());
    co_return read;
  }
  Task<Result<>> write(std::uint64_t, std::span<const std::byte>, WriteFlags) override {
    co_return refused_write();
  }
  Task<Result<>> write_zeroes(std::uint64_t, std::uint64_t, ZeroFlags) override { co_return refused_write(); }
  Task<Result<>> discard(std::uint64_t, std::uint64_t, WriteFlags) override { co_return refused_write(); }
  Task<Result<>> flush() override { co_return Result<>{}; }
  Task<Result<>> extents(std::uint64_t offset, std::uint64_t length, std::size_t max,
                         std::vector<Extent>& into) override {
    if (offset > size_bytes_ || length > size_bytes_ - offset) co_return out_of_range();
    auto listed = co_await list_extents(parts_, view_, offset, length, max, into);
    co_return listed;
  }
  Task<Result<>> layers(std::uint64_t offset, std::uint64_t length, std::size_t max,
                        std::vector<Extent>& into) override {
    if (offset > size_bytes_ || length > size_bytes_ - offset) co_return out_of_range();
    const Layers seen(parts_.tree, node_);
    auto listed = co_await list_extents(parts_, view_, offset, length, max, into, &seen);
    co_return listed;
  }

 private:
  Parts& parts_;
  NodeId node_;
  View view_;
  std::uint64_t size_bytes_;
  std::function<void()> on_close_;
};

class HeadDevice final : public BlockDevice {
 public:
  HeadDevice(Parts& parts, std::shared_ptr<Head> head, std::uint64_t size, bool read_only,
             std::function<void()> on_close)
      : parts_(parts),
        head_(std::move(head)),
        read_only_(read_only),
        on_close_(std::move(on_close)),
        size_bytes_(size) {}
  ~HeadDevice() override { on_close_(); }

  [[nodiscard]] std::uint64_t size_bytes() const override { return size_bytes_; }
  [[nodiscard]] bool read_only() const override { return read_only_; }

  Task<Result<>> read(std::uint64_t offset, std::span<std::byte> into) override;
  Task<Result<>> write(std::uint64_t offset, std::span<const std::byte> from, WriteFlags flags) override;
  Task<Result<>> write_zeroes(std::uint64_t offset, std::uint64_t length, ZeroFlags flags) override;
  Task<Result<>> discard(std::uint64_t offset, std::uint64_t length, WriteFlags flags) override;
  Task<Result<>> flush() override;
  Task<Result<>> extents(std::uint64_t offset, std::uint64_t length, std::size_t max,
                         std::vector<Extent>& into) override;
  Task<Result<>> layers(std::uint64_t offset, std::uint64_t length, std::size_t max,
                        std::vector<Extent>& into) override;

 private:
  [[nodiscard]] bool inside(std::uint64_t offset, std::uint64_t length) const {
    return offset <= size_bytes_ && length <= size_bytes_ - offset;
  }
  // Zeroes a range, atomically against other writers in pieces of at most kMaxRequestBytes.
  enum class Zeroing : std::uint8_t { kUnmap, kAllocate };
  Task<Result<>> zero_range(std::uint64_t offset, std::uint64_t length, Zeroing how);
  Task<Result<std::uint64_t>> next_mapped(std::uint64_t offset, std::uint64_t end);
  // These run with the range held by the caller.
  Task<Result<>> write_held(RangeLock::Entry& entry, std::uint64_t offset, std::span<const std::byte> from);
  Task<Result<>> unmap_held(RangeLock::Entry& entry, std::uint64_t offset, std::uint64_t length);
  Task<Result<>> unmap_blocks(RangeLock::Entry& entry, BlockIndex first, BlockIndex end);
  Task<Result<>> unmap_over_base(RangeLock::Entry& entry, BlockIndex first, BlockIndex end);
  [[nodiscard]] BlockIndex base_end() const;
  Task<Result<>> zero_edge(RangeLock::Entry& entry, std::uint64_t offset, std::uint64_t length);
  Task<Result<>> write_zero_data(RangeLock::Entry& entry, std::uint64_t offset, std::uint64_t length);
  Task<Result<>> finish(Result<> done, bool force_unit_access);

  Parts& parts_;
  std::shared_ptr<Head> head_;
  bool read_only_;
  std::function<void()> on_close_;
  std::uint64_t size_bytes_;
};

Task<Result<>> HeadDevice::read(std::uint64_t offset, std::span<std::byte> into) {
  if (!inside(offset, into.size())) co_return out_of_range();
  if (into.empty()) co_return Result<>{};
  ++parts_.counters.requests;
  if (whole_blocks(offset, into.size()) && is_block_aligned(into.data())) {
    auto read = co_await read_head(parts_, *head_, BlockIndex{offset / kBlockBytes}, into);
    co_return read;
  }
  const BlockRange range = covering(offset, into.size());
  AlignedBuffer blocks(range.bytes());
  auto read = co_await read_head(parts_, *head_, range.first, blocks.span());
  if (read) std::memcpy(into.data(), blocks.data() + range.head_bytes, into.size());
  co_return read;
}

// Makes a change durable before it is reported, where the request asks for it.
Task<Result<>> HeadDevice::finish(Result<> done, bool force_unit_access) {
  if (!done || !force_unit_access) co_return done;
  head_->rhythm.flushed();
  auto committed = co_await parts_.journal.commit(parts_.journal.staged());
  co_return committed;
}

Task<Result<>> HeadDevice::write(std::uint64_t offset, std::span<const std::byte> from, WriteFlags flags) {
  if (read_only_) co_return refused_write();
  if (!inside(offset, from.size())) co_return out_of_range();
  if (from.empty()) co_return Result<>{};
  const BlockRange range = covering(offset, from.size());
  head_->rhythm.wrote();
  ++parts_.counters.requests;
  Result<> written;
  {
    HeldRange held(*head_);
    co_await held.acquire(range.first, range.count);
    written = co_await write_held(held.entry, offset, from);
  }
  auto finished = co_await finish(written, flags.force_unit_access);
  co_return finished;
}

// Whole aligned blocks go as they are; else what surrounds the bytes in their first and last block is read,
// and whole blocks are written.
Task<Result<>> HeadDevice::write_held(RangeLock::Entry& entry, std::uint64_t offset,
                                      std::span<const std::byte> from) {
  const BlockRange range = covering(offset, from.size());
  if (whole_blocks(offset, from.size()) && is_block_aligned(from.data())) {
    auto written = co_await write_locked(parts_, *head_, entry, range.first, from);
    if (!written) co_return std::unexpected(written.error());
    co_return Result<>{};
  }
  AlignedBuffer blocks(range.bytes());
  Result<> filled;
  if (range.head_bytes != 0) {
    filled = co_await read_head_locked(parts_, *head_, range.first, blocks.first(kBlockBytes));
  }
  const bool partial_end = (range.head_bytes + from.size()) % kBlockBytes != 0;
  const bool end_is_read = range.count == 1 && range.head_bytes != 0;
  if (filled && partial_end && !end_is_read) {
    const std::span<std::byte> last = blocks.span().subspan(range.bytes() - kBlockBytes, kBlockBytes);
    filled = co_await read_head_locked(parts_, *head_, range.first.next(range.count - 1), last);
  }
  if (!filled) co_return filled;
  std::memcpy(blocks.data() + range.head_bytes, from.data(), from.size());
  const std::span<const std::byte> whole = blocks.first(range.bytes());
  auto written = co_await write_locked(parts_, *head_, entry, range.first, whole);
  if (!written) co_return std::unexpected(written.error());
  co_return Result<>{};
}

Task<Result<>> HeadDevice::write_zeroes(std::uint64_t offset, std::uint64_t length, ZeroFlags flags) {
  if (read_only_) co_return refused_write();
  if (!inside(offset, length)) co_return out_of_range();
  auto zeroed = co_await zero_range(offset, length, flags.no_hole ? Zeroing::kAllocate : Zeroing::kUnmap);
  auto finished = co_await finish(zeroed, flags.force_unit_access);
  co_return finished;
}

Task<Result<>> HeadDevice::discard(std::uint64_t offset, std::uint64_t length, WriteFlags flags) {
  if (read_only_) co_return refused_write();
  if (!inside(offset, length)) co_return out_of_range();
  auto zeroed = co_await zero_range(offset, length, Zeroing::kUnmap);
  auto finished = co_await finish(zeroed, flags.force_unit_access);
  co_return finished;
}

Task<Result<>> HeadDevice::zero_range(std::uint64_t offset, std::uint64_t length, Zeroing how) {
  const std::uint64_t end = offset + length;
  Result<> done;
  while (done && offset < end) {
    if (how == Zeroing::kUnmap && end - offset > kMaxRequestBytes) {
      // A disk is mostly holes: no step for each piece of nothing.
      auto mapped = co_await next_mapped(offset, end);
      if (!mapped) co_return std::unexpected(mapped.error());
      offset = *mapped;
      if (offset == end) break;
    }
    const std::uint64_t until = std::min(end, round_down(offset, kBlockBytes) + kMaxRequestBytes);
    const BlockRange range = covering(offset, until - offset);
    HeldRange held(*head_);
    co_await held.acquire(range.first, range.count);
    if (how == Zeroing::kUnmap) {
      done = co_await unmap_held(held.entry, offset, until - offset);
    } else {
      done = co_await write_zero_data(held.entry, offset, until - offset);
    }
    offset = until;
  }
  co_return done;
}

// The first byte at or behind `offset` in a leaf that exists, or over a base, or `end`.
Task<Result<std::uint64_t>> HeadDevice::next_mapped(std::uint64_t offset, std::uint64_t end) {
  if (BlockIndex{offset / kBlockBytes} < base_end()) co_return offset;
  const View view = head_->view(parts_);
  const LeafIndex from = leaf_of(BlockIndex{offset / kBlockBytes});
  const LeafIndex to = leaf_of(BlockIndex{round_up(end, kBlockBytes) / kBlockBytes + kLeafBlocks - 1});
  auto found = co_await parts_.map.scan(view, from, to, 1);
  if (!found) co_return std::unexpected(found.error());
  if (found->empty()) co_return end;
  const std::uint64_t start = first_block(found->front().index).value * kBlockBytes;
  co_return std::min(end, std::max(offset, start));
}

Task<Result<>> HeadDevice::write_zero_data(RangeLock::Entry& entry, std::uint64_t offset,
                                           std::uint64_t length) {
  AlignedBuffer zeroes(std::min(round_up(length, kBlockBytes), kZeroBufferBytes));
  std::memset(zeroes.data(), 0, zeroes.size());
  const std::uint64_t end = offset + length;
  Result<> written;
  while (written && offset < end) {
    // Pieces end on block boundaries, so that only the edges are partial.
    const std::uint64_t until = std::min(end, round_down(offset, kBlockBytes) + zeroes.size());
    const std::span<const std::byte> piece = zeroes.first(until - offset);
    written = co_await write_held(entry, offset, piece);
    offset = until;
  }
  co_return written;
}

Task<Result<>> HeadDevice::unmap_held(RangeLock::Entry& entry, std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t end = offset + length;
  const std::uint64_t first = round_up(offset, kBlockBytes);
  // The disk's own end counts as a block boundary.
  const std::uint64_t last = end == size_bytes_ ? round_up(end, kBlockBytes) : round_down(end, kBlockBytes);
  Result<> done;
  if (first > last) {
    done = co_await zero_edge(entry, offset, length);
    co_return done;
  }
  if (offset < first) done = co_await zero_edge(entry, offset, std::min(first, end) - offset);
  if (done && first < last) {
    done = co_await unmap_blocks(entry, BlockIndex{first / kBlockBytes}, BlockIndex{last / kBlockBytes});
  }
  if (done && last < end) done = co_await zero_edge(entry, last, end - last);
  co_return done;
}

// Part of one block; nothing to do where no data stands, or zeroes do already.
Task<Result<>> HeadDevice::zero_edge(RangeLock::Entry& entry, std::uint64_t offset, std::uint64_t length) {
  const BlockRange range = covering(offset, length);
  AlignedBuffer blocks(range.bytes());
  auto read = co_await read_head_locked(parts_, *head_, range.first, blocks.span());
  if (!read) co_return read;
  const std::span<std::byte> edge = blocks.span().subspan(range.head_bytes, length);
  if (std::ranges::all_of(edge, [](std::byte each) { return each == std::byte{0}; })) co_return Result<>{};
  std::ranges::fill(edge, std::byte{0});
  const std::span<const std::byte> whole = blocks.first(range.bytes());
  auto written = co_await write_locked(parts_, *head_, entry, range.first, whole);
  if (!written) co_return std::unexpected(written.error());
  co_return Result<>{};
}

BlockIndex HeadDevice::base_end() const {
  const BasePointer base = parts_.bases.under(head_->branch);
  return base ? base->end() : BlockIndex{0};
}

// A hole would show the base again, so zeroes are said for every block of it.
Task<Result<>> HeadDevice::unmap_over_base(RangeLock::Entry& entry, BlockIndex first, BlockIndex end) {
  while (first < end) {
    const std::uint64_t left = end.value - first.value;
    const std::uint64_t count = std::min(left, kZeroBlocksAtOnce - first.value % kLeafBlocks);
    auto zeroed = co_await zero_locked(parts_, *head_, entry, first, count, Holes::kFilled);
    if (!zeroed) co_return std::unexpected(zeroed.error());
    first = first.next(count);
  }
  co_return Result<>{};
}

Task<Result<>> HeadDevice::unmap_blocks(RangeLock::Entry& entry, BlockIndex first, BlockIndex end) {
  const BlockIndex shown = std::min(end, base_end());
  if (first < shown) {
    auto over = co_await unmap_over_base(entry, first, shown);
    if (!over) co_return over;
    first = shown;
  }
  if (first >= end) co_return Result<>{};
  LeafIndex from = leaf_of(first);
  const LeafIndex to = leaf_of(BlockIndex{end.value + kLeafBlocks - 1});
  while (from < to) {
    const View view = head_->view(parts_);
    auto found = co_await parts_.map.scan(view, from, to, kLeavesAtOnce);
    if (!found) co_return std::unexpected(found.error());
    if (found->empty()) break;
    from = found->front().index;
    const LeafIndex until = std::min(found->back().index.next(), from.next(kLeavesAtOnce));
    const BlockIndex start = std::max(first, first_block(from));
    const std::uint64_t count = std::min(end, first_block(until)).value - start.value;
    auto zeroed = co_await zero_locked(parts_, *head_, entry, start, count, Holes::kStay);
    if (!zeroed) co_return std::unexpected(zeroed.error());
    from = until;
  }
  co_return Result<>{};
}

Task<Result<>> HeadDevice::flush() {
  head_->rhythm.flushed();
  auto committed = co_await parts_.journal.commit(parts_.journal.staged());
  co_return committed;
}

Task<Result<>> HeadDevice::extents(std::uint64_t offset, std::uint64_t length, std::size_t max,
                                   std::vector<Extent>& into) {
  if (!inside(offset, length)) co_return out_of_range();
  const View view = head_->view(parts_);
  auto listed = co_await list_extents(parts_, view, offset, length, max, into);
  co_return listed;
}

Task<Result<>> HeadDevice::layers(std::uint64_t offset, std::uint64_t length, std::size_t max,
                                  std::vector<Extent>& into) {
  if (!inside(offset, length)) co_return out_of_range();
  // Of one moment: a snapshot that is taken meanwhile is above neither.
  const View view = head_->view(parts_);
  const Layers seen(parts_.tree, head_->node);
  auto listed = co_await list_extents(parts_, view, offset, length, max, into, &seen);
  co_return listed;
}

}  // namespace

std::unique_ptr<BlockDevice> make_head_device(Parts& parts, std::shared_ptr<Head> head,
                                              std::uint64_t size_bytes, bool read_only,
                                              std::function<void()> on_close) {
  return std::make_unique<HeadDevice>(parts, std::move(head), size_bytes, read_only, std::move(on_close));
}

std::unique_ptr<BlockDevice> make_snapshot_device(Parts& parts, NodeId node, std::function<void()> on_close) {
  return std::make_unique<SnapshotDevice>(parts, node, std::move(on_close));
}

}  // namespace coppice
