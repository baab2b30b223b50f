#include "journal/journal.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/mutation.h"

namespace coppice {

Journal::Journal(Scheduler& scheduler, JournalPlace place, Uuid store, Staging& staging, SyncAll sync_all,
                 JournalPoint tail, JournalPoint end)
    : place_(place),
      store_(store),
      staging_(staging),
      sync_all_(std::move(sync_all)),
      tail_(tail),
      end_(end),
      written_(end),
      round_done_(scheduler),
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

std::uint64_t Journal::stage(const Record& record) {
  return staging_.append(record);
}

void Journal::stop(Error why) {
  if (failed_) return;
  failed_ = true;
  failure_ = why;
  staging_.invalidate();
  round_done_.wake_all();
  room_.wake_all();
}

Task<Result<>> Journal::commit(std::uint64_t position) {
  while (!failed_ && end_.position < position) {
    if (round_running_) {
      co_await round_done_.wait();
      continue;
    }
    round_running_ = true;
    auto round = co_await run_round();
    round_running_ = false;
    if (!round) stop(round.error());
    if (round && advanced_) advanced_();
    round_done_.wake_all();
  }
  if (failed_) co_return std::unexpected(failure_);
  co_return Result<>{};
}

// One round covers what is staged when it starts. Records are staged when their data has been written, so the
// first sync covers the data of all of them; records staged during that sync have to wait for the next round.
Task<Result<>> Journal::run_round() {
  const std::uint64_t target = staging_.end();
  if (!mutated(Mutation::kJournalBeforeData)) {
    auto data = co_await sync_all_();
    if (!data) co_return data;
  }
  if (mutated(Mutation::kReleaseBeforeBatch)) staging_.release(target);
  std::vector<std::byte> payload;
  while (written_.position < target) {
    payload.clear();
    const std::uint64_t first = written_.position;
    const std::uint64_t end = staging_.copy(first, target, max_payload_bytes(), payload);
    auto written = co_await write_batch(payload, first, end);
    if (!written) co_return written;
  }
  if (!mutated(Mutation::kJournalNotSynced)) {
    auto synced = co_await sync_file(*place_.file);
    if (!synced) co_return synced;
  }
  end_ = written_;
  co_return Result<>{};
}

Task<Result<>> Journal::write_batch(std::vector<std::byte>& payload, std::uint64_t first_position,
                                    std::uint64_t end_position) {
  const std::uint64_t bytes = batch_bytes(payload.size());
  AlignedBuffer buffer(bytes);
  std::memcpy(buffer.data() + kBatchHeaderBytes, payload.data(), payload.size());
  const std::size_t used = kBatchHeaderBytes + payload.size();
  std::memset(buffer.data() + used, 0, bytes - used);

  BatchHeader header;
  header.store = store_;
  header.sequence = written_.sequence + 1;
  header.previous_hash = written_.hash;
  header.durable_sequence = header.sequence;
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
  auto written = co_await write_blocks(*place_.file, place_.offset_bytes + offset, buffer.span());
  if (!written) co_return written;
  written_ = {header.sequence, hash, offset + bytes, end_position};
  // The batch survives the process from here on, as the staged records did until now.
  staging_.release(end_position);
  room_.wake_all();
  co_return Result<>{};
}

void Journal::trim(JournalPoint to) {
  tail_ = to;
  room_.wake_all();
}

}  // namespace coppice
