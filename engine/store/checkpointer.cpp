#include "store/checkpointer.h"

#include <algorithm>
#include <span>
#include <vector>

#include "base/mutation.h"
#include "coppice/next_turn.h"
#include "layout/tree_values.h"

namespace coppice {

namespace {

constexpr std::size_t kPagesAtOnce = 512;
constexpr std::size_t kEntriesAtOnce = 64;
constexpr std::chrono::milliseconds kSpaceRetry{500};

}  // namespace

Task<Result<>> Checkpointer::run(Order order) {
  co_await running_.lock();
  const std::uint64_t number = ++begun_;
  auto done = co_await checkpoint(order);
  if (done) finished_ = number;
  // A half-written checkpoint can't be told from a whole one in memory: what was collected counts as clean.
  if (!done) parts_.journal.stop(done.error());
  running_.unlock();
  co_return done;
}

Task<Result<>> Checkpointer::edit(const MakeBatch& make) {
  co_await running_.lock();
  auto batch = co_await make();
  Result<> done;
  if (!batch) {
    done = std::unexpected(batch.error());
  } else if (!batch->empty()) {
    if (!mutated(Mutation::kChangesFoldedEarly))
      done = co_await parts_.journal.commit(parts_.journal.staged());
    if (done) done = co_await copy_.append({&*batch, 1}, 0);
    if (done) done = co_await write_batch(*batch, false);
    if (!done) parts_.journal.stop(done.error());
  }
  running_.unlock();
  co_return done;
}

Task<Result<>> Checkpointer::checkpoint(Order order) {
  auto committed = co_await parts_.journal.commit(parts_.journal.staged());
  if (!committed) co_return committed;
  const JournalPoint start = parts_.journal.point();
  // Records are published as they are staged, early ones when their data is written: all before this point is
  // in what is copied from here on.
  if (!mutated(Mutation::kEarlyNotAwaited)) co_await parts_.journal.early_finished();
  parts_.granules.take_idle();
  if (mutated(Mutation::kMarkClearedEarly)) (void)co_await parts_.granules.clear_taken();
  if (mutated(Mutation::kTrimEarly)) parts_.journal.trim(start);
  if (mutated(Mutation::kAppliedFirst)) (void)co_await write_start(start);
  // Versions of epochs to come are made by records behind `start`.
  const Epoch next_epoch = parts_.tree.next_epoch();
  parts_.map.begin_collect(mutated(Mutation::kNewestEpochLeft) ? Epoch{next_epoch.value - 1} : next_epoch);
  if (mutated(Mutation::kDeletedEarly)) {
    MetaBatch deleted;
    parts_.map.collect_deleted(deleted);
    (void)co_await copy_.append({&deleted, 1}, 0);
    (void)co_await write_batch(deleted, true);
    parts_.map.collected_written();
  }
  const bool pages_first = order == Order::kPagesFirst && !mutated(Mutation::kRecoveryMapFirst);
  Result<> written;
  if (pages_first) written = co_await write_pages();
  if (written) written = co_await write_map();
  if (written && !pages_first) written = co_await write_pages();
  if (written) written = co_await write_start(start);
  if (!written) co_return written;
  const std::uint64_t open_generation = parts_.pool.superblock().open_generation;
  written = co_await parts_.pool.write_superblocks({false, open_generation, start.sequence + 1});
  if (!written) co_return written;
  parts_.journal.trim(start);
  written = co_await parts_.granules.clear_taken();
  co_return written;
}

// Deletions go with the new start, in one batch: redo from the old start may still need what was deleted, as
// the base of a newer version that it makes again; redo from the new one finds that version.
Task<Result<>> Checkpointer::write_start(JournalPoint start) {
  MetaBatch last;
  while (parts_.map.collect_deleted(last, kEntriesAtOnce)) co_await NextTurn{parts_.scheduler};
  last.put(Family::kMeta, std::string(kAppliedKey),
           encode(AppliedValue{start.sequence, start.hash, start.ring_offset, start.position}));
  // As long as granules are suspect it must be known whose blocks are excused: the nodes of that time may go.
  if (parts_.granules.any_suspect()) {
    last.put(Family::kMeta, std::string(kSuspectsKey),
             encode(SuspectsValue{{parts_.suspect_epochs.begin(), parts_.suspect_epochs.end()}}));
  } else if (!parts_.suspect_epochs.empty()) {
    last.erase(Family::kMeta, std::string(kSuspectsKey));
  }
  auto written = co_await parts_.journal.commit(parts_.journal.staged());
  if (written && !mutated(Mutation::kCopyBehindStart))
    written = co_await copy_.append({&last, 1}, start.sequence);
  if (!written) co_return written;
  written = co_await write_batch(last, !mutated(Mutation::kAppliedNotSynced));
  if (!written) co_return written;
  co_await let_go_of_collected();
  if (mutated(Mutation::kCopyBehindStart)) {
    written = co_await parts_.pool.write_superblocks(
        {false, parts_.pool.superblock().open_generation, start.sequence + 1});
    parts_.journal.trim(start);
    if (written) written = co_await copy_.append({&last, 1}, start.sequence);
  }
  co_return written;
}

Task<Result<>> Checkpointer::write_map() {
  std::vector<MetaBatch> room(options_.batches);
  for (bool more = true; more;) {
    std::size_t count = 0;
    while (more && count < room.size()) {
      more = co_await collect_batch(room[count]);
      if (!room[count].empty()) ++count;
    }
    if (count == 0) break;
    const auto batches = std::span(room).first(count);
    Result<> written;
    if (!mutated(Mutation::kMapAheadOfJournal)) {
      written = co_await parts_.journal.commit(parts_.journal.staged());
      if (!written) co_return written;
    }
    // What failed here is not in the map: it stays in memory, for the reads of a store that has stopped.
    written = co_await copy_.append(batches, 0);
    if (!written) co_return written;
    for (const MetaBatch& batch : batches) {
      written = co_await write_batch(batch, false);
      if (!written) co_return written;
    }
    co_await let_go_of_collected();
  }
  co_return Result<>{};
}

// False: nothing is left.
Task<bool> Checkpointer::collect_batch(MetaBatch& batch) {
  batch.clear();
  bool more = true;
  while (more && batch.bytes() < options_.batch_bytes) {
    more = parts_.map.collect_dirty(batch, batch.bytes() + options_.step_bytes);
    co_await NextTurn{parts_.scheduler};
  }
  // Behind the leaves, so that it knows all that they name.
  parts_.tree.collect_dirty(batch);
  co_return more;
}

// The pages that are dirty when it begins: what gets dirty meanwhile is redone from the new start, and under
// load would never end. Checksum pages come in the order in which they got dirty; of the few bitmap pages
// all, until a look finds no more than it can take.
Task<Result<>> Checkpointer::write_pages() {
  std::size_t checksums_left = parts_.checksums.dirty_pages();
  bool bitmaps_left = true;
  while (bitmaps_left || checksums_left != 0) {
    std::vector<Allocator::PageImage> bitmaps;
    if (bitmaps_left) bitmaps = parts_.allocator.collect_dirty(kPagesAtOnce);
    bitmaps_left = bitmaps.size() == kPagesAtOnce;
    auto checksums = parts_.checksums.collect_dirty(std::min(kPagesAtOnce, checksums_left));
    checksums_left -= checksums.size();
    if (bitmaps.empty() && checksums.empty()) break;
    Result<> written;
    if (!mutated(Mutation::kPagesAheadOfJournal)) {
      written = co_await parts_.journal.commit(parts_.journal.staged());
      if (!written) co_return written;
    }
    const std::uint64_t sequence = parts_.journal.point().sequence + 1;
    written = co_await parts_.allocator.write(std::move(bitmaps), sequence);
    if (!written) co_return written;
    written = co_await parts_.checksums.write(std::move(checksums), sequence);
    if (!written) co_return written;
    // A page that got dirty again goes to its other copy: this one must be durable by then.
    if (mutated(Mutation::kPagesNotSynced)) continue;
    written = co_await parts_.pool.sync_all();
    if (!written) co_return written;
  }
  co_return Result<>{};
}

// Behind the deletion of many snapshots it is a hundred thousand and more; guests have their turn in between.
Task<void> Checkpointer::let_go_of_collected() {
  while (parts_.map.collected_written(kEntriesAtOnce)) co_await NextTurn{parts_.scheduler};
}

Task<Result<>> Checkpointer::write_batch(const MetaBatch& batch, bool sync) {
  auto written = co_await in_background(parts_.scheduler, [&] { return meta_.write(batch, sync); });
  while (!written && written.error().kind == ErrorKind::kNoSpace && patient_) {
    co_await sleep_for(parts_.scheduler, kSpaceRetry);
    written = co_await in_background(parts_.scheduler, [&] { return meta_.write(batch, sync); });
  }
  co_return written;
}

}  // namespace coppice
