#include "disk/write_path.h"

#include <vector>

#include "base/hash.h"
#include "base/mutation.h"
#include "disk/publish.h"
#include "disk/read_path.h"
#include "disk/space.h"
#include "disk/write_plan.h"

namespace coppice {

namespace {

constexpr std::uint64_t kRecordBytes = 128;  // a record without its lists, rounded up
constexpr std::uint64_t kRecordBytesPerBlock = 4 + 16 + kRecordBytes;  // checksum, freed run, own record

std::span<const std::byte, kBlockBytes> block_of(std::span<const std::byte> data, std::uint64_t block) {
  return std::span<const std::byte, kBlockBytes>(data.data() + block * kBlockBytes, kBlockBytes);
}

// Pins the leaves and takes the epoch, in one step: no newer epoch has begun, and no write of an older one is
// under way in these leaves, whose version the first write of this epoch copies.
Task<Result<>> start(Parts& parts, Head& head, RangeLock::Entry& entry, BlockIndex first, std::uint64_t count,
                     LeafPins& leaves) {
  const std::uint64_t from = round_down(first.value, kLeafBlocks);
  const std::uint64_t to = round_up(first.value + count, kLeafBlocks);
  // A request that is done in pieces stays in the epoch of its first one: the snapshot waits for all of it,
  // and it would else wait for itself as for an older write.
  const bool has_epoch = entry.epoch.value != 0;
  while (true) {
    const View now = head.view(parts);
    const View view = has_epoch ? View{now.branch, entry.epoch} : now;
    auto pinned = co_await leaves.pin(view, first, count);
    if (!pinned) co_return pinned;
    if (!has_epoch && head.view(parts) != view) continue;
    if (mutated(Mutation::kLeafOfTwoEpochs) || !head.lock.older_write_in(from, to, view.epoch)) {
      entry.epoch = view.epoch;
      co_return Result<>{};
    }
    leaves.drop();
    co_await head.lock.wait_for_release();
  }
}

bool gate_closed(Parts& parts, const Head& head, BlockIndex first, std::uint64_t count) {
  return parts.gate.closed(head.branch, leaf_of(first), leaf_of(first.next(count - 1)));
}

// One write from its classification to its publication. Whatever fails is undone here.
class Writing {
 public:
  Writing(Parts& parts, Head& head, BlockIndex first, std::span<const std::byte> data, Epoch epoch)
      : parts_(parts), head_(head), data_(data) {
    plan_.first = first;
    plan_.count = data.size() / kBlockBytes;
    plan_.epoch = epoch;
  }

  Task<Result<>> prepare(LeafPins& leaves);
  Task<Result<>> transfer();
  Task<Result<std::uint64_t>> publish(LeafPins& leaves);
  Task<Result<std::uint64_t>> publish_too_early(LeafPins& leaves);  // a mutation
  void undo();
  void unreserve() {
    if (reserved_) parts_.journal.unreserve(record_room(plan_.count));
  }

 private:
  Task<Result<>> begin_in_place(WritePiece& piece);
  Task<Result<>> read_back(WritePiece& piece);
  void cancel_redirected();
  void end_in_place();
  [[nodiscard]] std::span<const std::uint32_t> checksums_of(const WritePiece& piece) const {
    return std::span(checksums_).subspan(piece.offset_blocks, piece.run.count);
  }

  Parts& parts_;
  Head& head_;
  std::span<const std::byte> data_;
  WritePlan plan_;
  std::vector<std::uint32_t> checksums_;
  std::size_t pinned_pieces_ = 0;
  std::size_t begun_pieces_ = 0;
  bool reserved_ = false;
};

Task<Result<>> Writing::prepare(LeafPins& leaves) {
  const std::uint64_t redirected = plan_.classify(parts_, leaves);
  std::vector<PhysicalRun> runs;
  if (redirected != 0) {
    const PhysicalBlock goal = plan_.goal(leaves);
    auto taken = co_await take_blocks(parts_, redirected, goal, runs);
    if (!taken) {
      std::erase_if(plan_.pieces, [](const WritePiece& piece) { return !piece.in_place; });
      co_return taken;
    }
    plan_.assign(runs);
  }
  // Behind the allocation: a writer that waits for space must not hold the room that the reclaimer needs.
  auto reserved = co_await parts_.journal.reserve(record_room(plan_.count));
  if (!reserved) co_return reserved;
  reserved_ = true;
  for (WritePiece& piece : plan_.pieces) {
    if (!parts_.checksums.try_pin(piece.run)) {
      auto pinned = co_await parts_.checksums.pin(piece.run);
      if (!pinned) co_return pinned;
    }
    ++pinned_pieces_;
  }
  for (WritePiece& piece : plan_.pieces) {
    if (piece.in_place) {
      auto begun = co_await begin_in_place(piece);
      if (!begun) co_return begun;
    }
    ++begun_pieces_;
  }
  co_return Result<>{};
}

Task<Result<>> Writing::begin_in_place(WritePiece& piece) {
  // Counted first: a mark is never cleared under a write that relies on it.
  parts_.granules.begin_write(piece.run);
  Result<> marked;
  if (!parts_.granules.marked(piece.run)) marked = co_await parts_.granules.ensure_marked(piece.run);
  while (marked && (piece.slot = parts_.journal.staging().begin_in_place(piece.run)) == Staging::kNoSlot) {
    co_await sleep_for(parts_.scheduler, std::chrono::microseconds(100));
  }
  if (!marked) parts_.granules.end_write(piece.run);
  co_return marked;
}

Task<Result<>> Writing::transfer() {
  Latch latch(static_cast<std::uint32_t>(plan_.pieces.size()));
  for (WritePiece& piece : plan_.pieces) {
    piece.request.kind = IoRequest::Kind::kWrite;
    piece.request.offset_bytes = piece.run.first.offset_bytes();
    piece.request.memory = const_cast<std::byte*>(data_.data()) + piece.offset_blocks * kBlockBytes;
    piece.request.length_bytes = piece.run.count * kBlockBytes;
    piece.request.latch = &latch;
    parts_.pool.file(piece.run.first.member()).submit(piece.request);
  }
  // The device and the hash work at the same time.
  checksums_.resize(plan_.count);
  for (const WritePiece& piece : plan_.pieces) {
    for (std::uint64_t i = 0; i < piece.run.count; ++i) {
      checksums_[piece.offset_blocks + i] =
          block_checksum(block_of(data_, piece.offset_blocks + i), piece.run.first.next(i));
    }
  }
  co_await latch;
  Result<> status;
  for (const WritePiece& piece : plan_.pieces) {
    auto written = to_result(piece.request);
    if (!written) status = written;
  }
  // What was written in place is there, after an error perhaps in part: its checksum must follow whatever
  // else fails.
  for (WritePiece& piece : plan_.pieces) {
    if (!piece.in_place) continue;
    if (piece.request.error != 0) {
      auto read = co_await read_back(piece);
      if (!read) continue;
    }
    publish_in_place(parts_, plan_.epoch, piece.run, checksums_of(piece));
  }
  co_return status;
}

Task<Result<>> Writing::read_back(WritePiece& piece) {
  AlignedBuffer content(piece.run.count * kBlockBytes);
  auto read = co_await read_blocks(parts_.pool.file(piece.run.first.member()), piece.run.first.offset_bytes(),
                                   content.span());
  for (std::uint64_t i = 0; i < piece.run.count; ++i) {
    const PhysicalBlock address = piece.run.first.next(i);
    if (read) {
      checksums_[piece.offset_blocks + i] = block_checksum(block_of(content.span(), i), address);
    } else {
      parts_.checksums.set_unknown(address);
    }
  }
  co_return read;
}

Task<Result<std::uint64_t>> Writing::publish(LeafPins& leaves) {
  const View view{head_.branch, plan_.epoch};
  auto pinned = co_await leaves.pin(view, plan_.first, plan_.count);
  while (pinned && gate_closed(parts_, head_, plan_.first, plan_.count)) {
    leaves.drop();
    co_await parts_.gate.wait();
    pinned = co_await leaves.pin(view, plan_.first, plan_.count);
  }
  if (!pinned) co_return std::unexpected(pinned.error());
  for (const WritePiece& piece : plan_.pieces) {
    if (piece.in_place) continue;
    publish_redirected(parts_, head_, plan_.epoch, plan_.first.next(piece.offset_blocks), piece.run,
                       checksums_of(piece), leaves);
  }
  end_in_place();
  for (const WritePiece& piece : plan_.pieces) parts_.checksums.unpin(piece.run);
  co_return parts_.journal.staged();
}

Task<Result<std::uint64_t>> Writing::publish_too_early(LeafPins& leaves) {
  checksums_.resize(plan_.count);
  for (const WritePiece& piece : plan_.pieces) {
    const std::uint64_t first = piece.offset_blocks;
    block_checksums(data_.subspan(first * kBlockBytes, piece.run.count * kBlockBytes), piece.run.first,
                    std::span(checksums_).subspan(first, piece.run.count));
    if (piece.in_place) continue;
    publish_redirected(parts_, head_, plan_.epoch, plan_.first.next(first), piece.run, checksums_of(piece),
                       leaves);
  }
  auto transferred = co_await transfer();
  end_in_place();
  for (const WritePiece& piece : plan_.pieces) parts_.checksums.unpin(piece.run);
  if (!transferred) co_return std::unexpected(transferred.error());
  co_return parts_.journal.staged();
}

void Writing::end_in_place() {
  for (std::size_t i = 0; i < begun_pieces_; ++i) {
    WritePiece& piece = plan_.pieces[i];
    if (!piece.in_place) continue;
    parts_.journal.staging().end_in_place(piece.slot);
    parts_.granules.end_write(piece.run);
  }
}

void Writing::undo() {
  end_in_place();
  for (std::size_t i = 0; i < pinned_pieces_; ++i) parts_.checksums.unpin(plan_.pieces[i].run);
  for (const WritePiece& piece : plan_.pieces) {
    if (!piece.in_place) parts_.allocator.cancel(piece.run);
  }
}

}  // namespace

std::uint64_t record_room(std::uint64_t count) {
  return kRecordBytes + count * kRecordBytesPerBlock;
}

Task<Result<std::uint64_t>> write_locked(Parts& parts, Head& head, RangeLock::Entry& entry, BlockIndex first,
                                         std::span<const std::byte> data) {
  const std::uint64_t count = data.size() / kBlockBytes;
  LeafPins leaves(parts);
  auto status = co_await start(parts, head, entry, first, count, leaves);
  if (!status) co_return std::unexpected(status.error());
  Writing writing(parts, head, first, data, entry.epoch);
  status = co_await writing.prepare(leaves);
  if (status && mutated(Mutation::kStageBeforeData)) {
    auto position = co_await writing.publish_too_early(leaves);
    writing.unreserve();
    co_return position;
  }
  if (status) status = co_await writing.transfer();
  Result<std::uint64_t> position = 0;
  if (status) {
    position = co_await writing.publish(leaves);
    if (!position) status = std::unexpected(position.error());
  }
  if (!status) writing.undo();
  writing.unreserve();
  if (!status) co_return std::unexpected(status.error());
  co_return position;
}

Task<Result<std::uint64_t>> zero_locked(Parts& parts, Head& head, RangeLock::Entry& entry, BlockIndex first,
                                        std::uint64_t count) {
  const std::uint64_t room = record_room(count);
  auto reserved = co_await parts.journal.reserve(room);
  if (!reserved) co_return std::unexpected(reserved.error());
  LeafPins leaves(parts);
  auto started = co_await start(parts, head, entry, first, count, leaves);
  while (started && gate_closed(parts, head, first, count)) {
    leaves.drop();
    co_await parts.gate.wait();
    started = co_await start(parts, head, entry, first, count, leaves);
  }
  std::uint64_t position = 0;
  // Nothing suspends between the start and here, so the leaves are still pinned as seen from this epoch.
  if (started) position = publish_zero(parts, head, entry.epoch, first, count, leaves);
  parts.journal.unreserve(room);
  if (!started) co_return std::unexpected(started.error());
  co_return position;
}

}  // namespace coppice
