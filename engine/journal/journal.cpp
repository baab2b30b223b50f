#include "journal/journal.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/mutation.h"

namespace coppice {

namespace {
// What a commit has left to write is smaller than that, and a device at work takes a small batch sooner
// (docs/performance.md, "small batches").
constexpr std::uint64_t kAheadBytes = std::uint64_t{16} << 10;
}  // namespace

Journal::Journal(Scheduler& scheduler, Staging& staging, JournalSetup setup)
    : place_(setup.place),
      store_(setup.store),
      order_(setup.order),
      recovering_(setup.recovering),
      staging_(staging),
      sync_all_(std::move(setup.sync_all)),
      tail_(setup.tail),
      end_(setup.end),
      written_(setup.end),
      durable_sequence_(setup.durable_sequence),
      carried_(setup.durable_sequence),
      proven_(setup.end.position),
      round_done_(scheduler),
      ahead_done_(scheduler),
      early_done_(scheduler),
      room_(scheduler) {}

std::uint64_t Journal::used_bytes() const {
  // An empty ring and a full one have equal offsets; sequences tell them apart.
  if (tail_.sequence == written_.sequence) return 0;
  return (written_.ring_offset + place_.ring_bytes - tail_.ring_offset - 1) % place_.ring_bytes + 1;
}

// The last quarter of the ring is kept for what is already staged: commits, a checkpoint's among them, never
// wait for the ring.
bool Journal::blocked(std::uint64_t bytes) const {
  return !staging_.has_room(bytes) ||
         used_bytes() + staging_.used_bytes() + staging_.reserved_bytes() > place_.ring_bytes / 4 * 3;
}

std::size_t Journal::max_payload_bytes() const {
  return std::min<std::size_t>(kMaxBatchPayloadBytes, place_.ring_bytes / 8);
}

Task<Result<>> Journal::reserve(std::uint64_t bytes) {
  while (!failed_ && blocked(bytes)) {
    if (pressure_) pressure_();
    co_await room_.wait();
  }
  if (failed_) co_return std::unexpected(failure_);
  staging_.reserve(bytes);
  co_return Result<>{};
}

void Journal::unreserve(std::uint64_t bytes) {
  staging_.unreserve(bytes);
  room_.wake_all();
}

// Under load that does not flush, batches are written as they fill up: what waits for the next sync is small.
std::uint64_t Journal::stage(const Record& record) {
  const std::uint64_t end = staging_.append(record);
  if (order_ == FlushOrder::kOrderFree && end - written_.position > kAheadBytes) push();
  return end;
}

Journal::Early Journal::stage_early(const Record& record) {
  const std::uint64_t start = staging_.end();
  early_.push_back({start, false});
  return {start, stage(record)};
}

void Journal::push() {
  if (!round_running_ && !writing_ahead_ && !failed_) spawn(write_ahead());
}

// The batch of what is staged, on its way while the data is. A round waits for it.
Task<void> Journal::write_ahead() {
  writing_ahead_ = true;
  const std::uint64_t target = staging_.end();
  auto written = co_await write_staged(target);
  writing_ahead_ = false;
  if (!written) stop(written.error());
  ahead_done_.wake_all();
}

void Journal::finish_early(Early record) {
  std::erase_if(early_, [&](const Unfinished& each) { return each.start == record.start; });
  ++finished_;
  early_done_.wake_all();
}

void Journal::abandon_early(Early record) {
  for (Unfinished& each : early_) each.abandoned = each.abandoned || each.start == record.start;
  early_done_.wake_all();
}

Task<void> Journal::early_finished() {
  const std::uint64_t position = staging_.end();
  const auto unfinished = [position](const Unfinished& each) {
    return each.start < position && !each.abandoned;
  };
  while (std::ranges::any_of(early_, unfinished)) co_await early_done_.wait();
}

// The last batch of which the data of every record is written.
std::uint64_t Journal::complete_sequence() const {
  if (early_.empty() || mutated(Mutation::kEarlyCalledDurable)) return written_.sequence;
  std::uint64_t sequence = durable_sequence_;
  for (const Unproven& batch : unproven_) {
    if (batch.end_position > early_.front().start) break;
    sequence = std::max(sequence, batch.sequence);
  }
  return sequence;
}

void Journal::stop(Error why) {
  if (failed_) return;
  failed_ = true;
  failure_ = why;
  staging_.invalidate();
  round_done_.wake_all();
  ahead_done_.wake_all();
  early_done_.wake_all();
  room_.wake_all();
}

// Waits for the round that is running, or runs the next one.
Task<Result<>> Journal::next_round() {
  if (round_running_) {
    co_await round_done_.wait();
    co_return Result<>{};
  }
  round_running_ = true;
  auto round = co_await run_round();
  round_running_ = false;
  if (!round) stop(round.error());
  if (round && advanced_) advanced_();
  round_done_.wake_all();
  co_return round;
}

Task<Result<>> Journal::commit(std::uint64_t position) {
  // The batch of an early record may be durable long before its data.
  const std::uint64_t finished = mutated(Mutation::kEarlyDataUnsynced) ? 0 : finished_;
  while (!failed_ && (end_.position < position || finished_synced_ < finished)) co_await next_round();
  if (failed_) co_return std::unexpected(failure_);
  co_return Result<>{};
}

Task<Result<>> Journal::prove() {
  const std::uint64_t position = staging_.end();
  while (!failed_ && proven_ < position) {
    const std::uint64_t before = durable_sequence_;
    auto round = co_await next_round();
    if (!round) break;
    // An early record holds back what can be called durable.
    const bool stuck = durable_sequence_ == before && proven_ < position;
    if (stuck && !early_.empty()) co_await early_done_.wait();
  }
  if (failed_) co_return std::unexpected(failure_);
  co_return Result<>{};
}

Task<void> Journal::round_ended() {
  if (round_running_) co_await round_done_.wait();
}

// One round covers what is staged when it starts. Records are staged when their data has been written (early
// ones: nobody has been told yet), so the sync that follows covers the data of all of them, and the batches.
Task<Result<>> Journal::run_round() {
  const std::uint64_t target = staging_.end();
  const bool conservative = order_ == FlushOrder::kConservative;
  if (conservative && !mutated(Mutation::kJournalBeforeData)) {
    auto data = co_await sync_all_();
    if (!data) co_return data;
  }
  if (mutated(Mutation::kReleaseBeforeBatch)) staging_.release(target);
  while (writing_ahead_) co_await ahead_done_.wait();
  if (failed_) co_return std::unexpected(failure_);
  auto written = co_await write_staged(target);
  if (!written) co_return written;
  // What is complete before the sync begins is durable behind it.
  const JournalPoint covered = written_;
  const std::uint64_t complete = complete_sequence();
  const std::uint64_t finished = finished_;
  const std::uint64_t carried = carried_;
  if (!mutated(Mutation::kJournalNotSynced)) {
    auto synced = conservative ? co_await sync_file(*place_.file) : co_await sync_all_();
    if (!synced) co_return synced;
  }
  end_ = covered;
  finished_synced_ = finished;
  if (!recovering_) durable_sequence_ = std::max(durable_sequence_, complete);
  carry_proof(mutated(Mutation::kProvenWhenDurable) ? covered.sequence : carried);
  co_return Result<>{};
}

// A batch that says "all up to `carried` is durable" is durable itself now.
void Journal::carry_proof(std::uint64_t carried) {
  while (!unproven_.empty() && unproven_.front().sequence <= carried) {
    proven_ = unproven_.front().end_position;
    unproven_.pop_front();
  }
}

// Where nothing is staged an empty batch carries what is durable by now.
Task<Result<>> Journal::write_staged(std::uint64_t target) {
  std::vector<std::byte> payload;
  if (written_.position == target && carried_ < durable_sequence_) {
    auto written = co_await write_batch(payload, target, target);
    if (!written) co_return written;
  }
  while (written_.position < target) {
    payload.clear();
    const std::uint64_t first = written_.position;
    const std::uint64_t end = staging_.copy(first, target, max_payload_bytes(), payload);
    auto written = co_await write_batch(payload, first, end);
    if (!written) co_return written;
  }
  co_return Result<>{};
}

Task<Result<>> Journal::write_batch(std::vector<std::byte>& payload, std::uint64_t first_position,
                                    std::uint64_t end_position) {
  const std::uint64_t bytes = batch_bytes(payload.size());
  AlignedBuffer buffer(bytes);
  std::ranges::copy(payload, buffer.data() + kBatchHeaderBytes);
  const std::size_t used = kBatchHeaderBytes + payload.size();
  std::memset(buffer.data() + used, 0, bytes - used);

  BatchHeader header;
  header.store = store_;
  header.sequence = written_.sequence + 1;
  header.previous_hash = written_.hash;
  const bool trusted = order_ == FlushOrder::kConservative && !recovering_;
  header.durable_sequence = trusted ? header.sequence : durable_sequence_;
  header.first_position = first_position;
  header.payload_bytes = payload.size();
  const std::uint64_t hash = seal_batch(header, buffer.span());

  std::uint64_t offset = written_.ring_offset;
  std::uint64_t skipped = 0;
  if (offset + bytes > place_.ring_bytes) {
    skipped = place_.ring_bytes - offset;
    offset = 0;
  }
  if (used_bytes() + skipped + bytes > place_.ring_bytes) {
    co_return fail(ErrorKind::kCorrupt, EIO,
                   "the journal ring would overwrite batches that are still needed");
  }
  auto written =
      co_await write_blocks(*place_.file, place_.offset_bytes + offset, buffer.span(), Urgency::kUrgent);
  if (!written) co_return written;
  written_ = {header.sequence, hash, offset + bytes, end_position};
  carried_ = header.durable_sequence;
  unproven_.push_back({header.sequence, end_position});
  // The batch survives the process from here on, as the staged records did until now.
  staging_.release(end_position);
  room_.wake_all();
  co_return Result<>{};
}

// What a checkpoint holds needs no batch to speak for it.
void Journal::trim(JournalPoint to) {
  tail_ = to;
  std::erase_if(early_, [&](const Unfinished& each) { return each.start < to.position; });
  early_done_.wake_all();
  if (!recovering_) durable_sequence_ = std::max(durable_sequence_, to.sequence);
  carry_proof(to.sequence);
  room_.wake_all();
}

}  // namespace coppice
