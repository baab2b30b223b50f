#include "disk/write_path.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory_resource>
#include <utility>
#include <vector>

#include "base/hash.h"
#include "base/mutation.h"
#include "disk/publish.h"
#include "disk/read_path.h"
#include "disk/space.h"
#include "disk/write_plan.h"

namespace coppice {

namespace {

// What counts as a small write: it may be staged early, and be published in another epoch than it was planned
// in.
constexpr std::uint64_t kFewBlocks = 16;
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
      head.lock.start(entry, view.epoch);
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
  Writing(Parts& parts, Head& head, RangeLock::Entry& entry, BlockIndex first,
          std::span<const std::byte> data)
      : parts_(parts), head_(head), entry_(entry), data_(data), plan_(&memory_), checksums_(&memory_) {
    plan_.first = first;
    plan_.count = data.size() / kBlockBytes;
    plan_.epoch = entry.epoch;
    plan_.strict = head.strict;
  }

  // `has_epoch`: an earlier piece of the same request gave it one.
  Task<Result<>> prepare(LeafPins& leaves, bool has_epoch);
  Task<Result<>> transfer(LeafPins& leaves);
  Task<Result<std::uint64_t>> publish(LeafPins& leaves);
  Task<Result<std::uint64_t>> publish_too_early(LeafPins& leaves);  // a mutation
  Task<Result<>> pin_for_publication(LeafPins& leaves);
  Task<Result<>> publish_redirected_pieces(LeafPins& leaves);
  void undo();
  Task<Result<>> settle_failed();
  void unreserve() {
    if (admitted_ != 0) parts_.charges.settle(parts_.tree.disk_of(head_.branch), admitted_);
    if (reserved_) parts_.journal.unreserve(record_room(plan_.count));
  }

 private:
  Task<Result<>> admit(std::uint64_t redirected, LeafPins& leaves);
  [[nodiscard]] std::uint64_t growth(std::uint64_t redirected, LeafPins& leaves) const;
  Task<Result<>> begin_in_place(WritePiece& piece);
  Task<Result<>> read_back(WritePiece& piece);
  [[nodiscard]] bool may_stage_early(LeafPins& leaves);
  void stage_early(LeafPins& leaves);
  void compute_checksums();
  void end_in_place();
  [[nodiscard]] std::span<const std::uint32_t> checksums_of(const WritePiece& piece) const {
    return std::span(checksums_).subspan(piece.offset_blocks, piece.run.count);
  }

  Parts& parts_;
  Head& head_;
  RangeLock::Entry& entry_;
  std::span<const std::byte> data_;
  // Small writes take nothing from the heap.
  std::array<std::byte, 640> room_;
  std::pmr::monotonic_buffer_resource memory_{room_.data(), room_.size()};
  WritePlan plan_;
  std::pmr::vector<std::uint32_t> checksums_;
  std::size_t pinned_pieces_ = 0;
  std::size_t begun_pieces_ = 0;
  bool reserved_ = false;
  std::uint64_t admitted_ = 0;
  bool early_ = false;
  bool of_no_epoch_ = false;              // takes one when it is published
  std::vector<MapRecord> early_records_;  // of the redirected pieces, in order
};

// What goes to fresh blocks alone changes nothing of the epoch that it was planned in. It belongs to the one
// in which it is published, so that a snapshot that comes in between has not to wait for it, nor have the
// writes behind the snapshot. Only small ones: when they are published they may have to wait in turn, and
// hold room in the journal meanwhile.
Task<Result<>> Writing::prepare(LeafPins& leaves, bool has_epoch) {
  const std::uint64_t redirected = plan_.classify(parts_, leaves);
  if (redirected == plan_.count && !has_epoch && plan_.count <= kFewBlocks) {
    of_no_epoch_ = true;
    head_.lock.give_back_epoch(entry_);
  }
  std::vector<PhysicalRun> runs;
  if (redirected != 0) {
    Result<> admitted;
    if (parts_.charges.any()) admitted = co_await admit(redirected, leaves);
    if (!admitted) {
      std::erase_if(plan_.pieces, [](const WritePiece& piece) { return !piece.in_place; });
      co_return admitted;
    }
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

// What it takes more than it frees, as things stand. A sweep lets it free more in the end; a snapshot that is
// taken before it is published less, so a disk can be over its quota by what was under way then.
std::uint64_t Writing::growth(std::uint64_t redirected, LeafPins& leaves) const {
  std::vector<PhysicalRun> freed;
  for (const WritePiece& piece : plan_.pieces) {
    if (piece.in_place) continue;
    const BlockIndex first = plan_.first.next(piece.offset_blocks);
    for_each_leaf(first, piece.run.count, [&](LeafIndex leaf, unsigned from, unsigned part, std::uint64_t) {
      append_freed(parts_, head_, plan_.epoch, leaves.at(leaf), from, part, freed);
    });
  }
  std::uint64_t frees = 0;
  for (const PhysicalRun& run : freed) frees += run.count;
  return redirected - std::min(redirected, frees);
}

// The disk's quota. What its removed snapshots held may be on its way back: that is waited for.
Task<Result<>> Writing::admit(std::uint64_t redirected, LeafPins& leaves) {
  const DiskId disk = parts_.tree.disk_of(head_.branch);
  while (true) {
    const std::uint64_t more = growth(redirected, leaves);
    if (parts_.charges.admit(disk, more)) {
      admitted_ = more;
      if (mutated(Mutation::kAdmittedForgotten)) parts_.charges.settle(disk, std::exchange(admitted_, 0));
      co_return Result<>{};
    }
    if (!parts_.reclaim_under_way())
      co_return fail(ErrorKind::kNoSpace, ENOSPC, "the disk's quota is used up");
    co_await parts_.space_freed.wait();
  }
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

void Writing::compute_checksums() {
  checksums_.resize(plan_.count);
  for (const WritePiece& piece : plan_.pieces) {
    for (std::uint64_t i = 0; i < piece.run.count; ++i) {
      checksums_[piece.offset_blocks + i] =
          block_checksum(block_of(data_, piece.offset_blocks + i), piece.run.first.next(i));
    }
  }
}

// Early where it pays - the client flushes behind every few writes - and where the record can't turn out to
// be another one by the time the data is written: the leaves have a version of this epoch, and no sweep is
// near.
bool Writing::may_stage_early(LeafPins& leaves) {
  if (!head_.rhythm.flushes_often() || !parts_.journal.may_stage_early() || plan_.count > kFewBlocks ||
      gate_closed(parts_, head_, plan_.first, plan_.count)) {
    return false;
  }
  if (of_no_epoch_ && head_.view(parts_).epoch != plan_.epoch) return false;
  const View view{head_.branch, plan_.epoch};
  bool own_versions = true;
  for_each_leaf(plan_.first, plan_.count, [&](LeafIndex leaf, unsigned, unsigned, std::uint64_t) {
    CachedLeaf* now = parts_.map.find(view, leaves.at(leaf).index);
    own_versions = own_versions && now != nullptr && !now->inherited && now->version == plan_.epoch;
    if (now != nullptr) parts_.map.unpin(now);
  });
  if (!own_versions) return false;
  for (WritePiece& piece : plan_.pieces) {
    if (piece.in_place) continue;
    if (!mutated(Mutation::kEarlyWithoutSlot))
      piece.slot = parts_.journal.staging().begin_in_place(piece.run);
    if (piece.slot == Staging::kNoSlot && !mutated(Mutation::kEarlyWithoutSlot)) return false;
  }
  return true;
}

void Writing::stage_early(LeafPins& leaves) {
  if (of_no_epoch_) head_.lock.start(entry_, plan_.epoch);
  of_no_epoch_ = false;
  for (WritePiece& piece : plan_.pieces) {
    if (piece.in_place) {
      piece.early = parts_.journal.stage_early(in_place_record(plan_.epoch, piece.run, checksums_of(piece)));
      continue;
    }
    const BlockIndex first = plan_.first.next(piece.offset_blocks);
    early_records_.push_back(
        map_record(parts_, head_, plan_.epoch, first, piece.run, checksums_of(piece), leaves));
    piece.early = parts_.journal.stage_early(early_records_.back());
  }
  early_ = true;
  parts_.journal.push();
}

Task<Result<>> Writing::transfer(LeafPins& leaves) {
  if (may_stage_early(leaves)) {
    compute_checksums();
    stage_early(leaves);
  }
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
  if (!early_) compute_checksums();
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
    const bool failed = piece.request.error != 0;
    if (failed) {
      auto read = co_await read_back(piece);
      if (!read) continue;
    }
    if (early_ && !failed) {
      parts_.checksums.set(piece.run.first, checksums_of(piece));
    } else {
      publish_in_place(parts_, plan_.epoch, piece.run, checksums_of(piece));
    }
    if (early_) parts_.journal.finish_early(piece.early);
  }
  co_return status;
}

// A record that was staged early names data that is not there. It can't be taken back: a checkpoint leaves it
// behind, and until then nothing of it is called durable and its blocks stay taken.
Task<Result<>> Writing::settle_failed() {
  bool abandoned = false;
  for (const WritePiece& piece : plan_.pieces) {
    if (piece.early.end == 0) continue;
    if (piece.in_place) {
      parts_.journal.finish_early(piece.early);
    } else {
      parts_.journal.abandon_early(piece.early);
      abandoned = true;
    }
  }
  if (!abandoned) co_return Result<>{};
  auto left_behind = co_await parts_.checkpoint();
  co_return left_behind;
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
  const bool redirected =
      std::ranges::any_of(plan_.pieces, [](const WritePiece& piece) { return !piece.in_place; });
  if (redirected) {
    auto mapped = co_await publish_redirected_pieces(leaves);
    if (!mapped) co_return std::unexpected(mapped.error());
  }
  end_in_place();
  for (const WritePiece& piece : plan_.pieces) parts_.checksums.unpin(piece.run);
  co_return parts_.journal.staged();
}

// The leaves as they are to be published in.
Task<Result<>> Writing::pin_for_publication(LeafPins& leaves) {
  if (of_no_epoch_ && !mutated(Mutation::kEpochOfThePlan)) {
    auto started = co_await start(parts_, head_, entry_, plan_.first, plan_.count, leaves);
    if (!started) co_return started;
    plan_.epoch = entry_.epoch;
    of_no_epoch_ = false;
    co_return started;
  }
  auto pinned = co_await leaves.pin(View{head_.branch, plan_.epoch}, plan_.first, plan_.count);
  co_return pinned;
}

Task<Result<>> Writing::publish_redirected_pieces(LeafPins& leaves) {
  auto pinned = co_await pin_for_publication(leaves);
  // A sweep waits for early records, not they for it.
  while (pinned && !early_ && gate_closed(parts_, head_, plan_.first, plan_.count)) {
    leaves.drop();
    co_await parts_.gate.wait();
    pinned = co_await pin_for_publication(leaves);
  }
  if (!pinned) co_return pinned;
  std::size_t next_record = 0;
  for (const WritePiece& piece : plan_.pieces) {
    if (piece.in_place) continue;
    if (early_) {
      apply_record(parts_, head_, early_records_[next_record++], piece.early.end, leaves);
      parts_.journal.finish_early(piece.early);
      continue;
    }
    publish_redirected(parts_, head_, plan_.epoch, plan_.first.next(piece.offset_blocks), piece.run,
                       checksums_of(piece), leaves);
  }
  co_return Result<>{};
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
  auto transferred = co_await transfer(leaves);
  end_in_place();
  for (const WritePiece& piece : plan_.pieces) parts_.checksums.unpin(piece.run);
  if (!transferred) co_return std::unexpected(transferred.error());
  co_return parts_.journal.staged();
}

void Writing::end_in_place() {
  for (std::size_t i = 0; i < begun_pieces_; ++i) {
    WritePiece& piece = plan_.pieces[i];
    if (piece.slot != Staging::kNoSlot) parts_.journal.staging().end_in_place(piece.slot);
    if (piece.in_place) parts_.granules.end_write(piece.run);
  }
}

void Writing::undo() {
  end_in_place();
  for (std::size_t i = 0; i < pinned_pieces_; ++i) parts_.checksums.unpin(plan_.pieces[i].run);
  for (const WritePiece& piece : plan_.pieces) {
    if (!piece.in_place) parts_.allocator.cancel(piece.run);
  }
}

// Whether a write, as it stands after start(), would go to fresh blocks in part, and so make versions.
bool redirects(Parts& parts, const Head& head, const RangeLock::Entry& entry, BlockIndex first,
               std::uint64_t count, LeafPins& leaves) {
  WritePlan plan(std::pmr::get_default_resource());
  plan.first = first;
  plan.count = count;
  plan.epoch = entry.epoch;
  plan.strict = head.strict;
  return plan.classify(parts, leaves) != 0;
}

}  // namespace

std::uint64_t record_room(std::uint64_t count) {
  return kRecordBytes + count * kRecordBytesPerBlock;
}

Task<Result<std::uint64_t>> write_locked(Parts& parts, Head& head, RangeLock::Entry& entry, BlockIndex first,
                                         std::span<const std::byte> data) {
  const std::uint64_t count = data.size() / kBlockBytes;
  LeafPins leaves(parts);
  const bool has_epoch = entry.epoch.value != 0;
  // Who has an epoch does not wait for a checkpoint: a snapshot would wait for it, too.
  if (!has_epoch && parts.dirty.checksums_are_slow()) co_await parts.dirty.wait_for_checksums();
  auto status = co_await start(parts, head, entry, first, count, leaves);
  if (status && !has_epoch && parts.dirty.map_is_slow() &&
      redirects(parts, head, entry, first, count, leaves)) {
    head.lock.give_back_epoch(entry);
    leaves.drop();
    co_await parts.dirty.wait_for_map();
    status = co_await start(parts, head, entry, first, count, leaves);
  }
  if (!status) co_return std::unexpected(status.error());
  Writing writing(parts, head, entry, first, data);
  status = co_await writing.prepare(leaves, has_epoch);
  if (status && mutated(Mutation::kStageBeforeData)) {
    auto position = co_await writing.publish_too_early(leaves);
    writing.unreserve();
    co_return position;
  }
  if (status) status = co_await writing.transfer(leaves);
  Result<std::uint64_t> position = 0;
  if (status) {
    position = co_await writing.publish(leaves);
    if (!position) status = std::unexpected(position.error());
  }
  if (!status) {
    (void)co_await writing.settle_failed();
    writing.undo();
  }
  writing.unreserve();
  if (!status) co_return std::unexpected(status.error());
  co_return position;
}

Task<Result<std::uint64_t>> zero_locked(Parts& parts, Head& head, RangeLock::Entry& entry, BlockIndex first,
                                        std::uint64_t count, Holes holes) {
  if (entry.epoch.value == 0 && parts.dirty.map_is_slow()) co_await parts.dirty.wait_for_map();
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
  if (started) position = publish_zero(parts, head, entry.epoch, first, count, holes, leaves);
  parts.journal.unreserve(room);
  if (!started) co_return std::unexpected(started.error());
  co_return position;
}

}  // namespace coppice
