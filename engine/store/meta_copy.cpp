#include "store/meta_copy.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/mutation.h"

namespace coppice {

namespace {

constexpr std::uint64_t kMostSegmentBlocks = 8192;
constexpr std::uint64_t kSegmentShare = 8;  // of the chain so far
constexpr std::size_t kChunkBytes = std::size_t{120} << 10;
constexpr std::uint64_t kSpareShare =
    64;  // of the pool, or a quarter of a slab, is free before it is tried again
constexpr std::chrono::milliseconds kLongestPause{100};

std::unexpected<Error> no_space() {
  return fail(ErrorKind::kNoSpace, ENOSPC, "the pool has no space for the copy of the metadata");
}
bool is_no_space(const Result<>& result) {
  return !result && result.error().kind == ErrorKind::kNoSpace;
}

}  // namespace

// The MetaStore as it was at one moment.
struct MetaCopy::Capture {
  Families families;
  std::size_t at = 0;
  std::uint64_t log_segment = 0;   // where the log goes on from it,
  std::uint64_t log_sequence = 0;  // behind this frame
  std::uint64_t generation = 0;

  // The next entries; none at the end.
  Result<MetaBatch> next() {
    MetaBatch batch;
    while (at < families.size() && batch.bytes() < kChunkBytes) {
      MetaIterator& iterator = *families[at];
      if (!iterator.valid()) {
        if (auto status = iterator.status(); !status) return std::unexpected(status.error());
        ++at;
        continue;
      }
      batch.put(static_cast<Family>(at), iterator.key(), iterator.value());
      iterator.next();
    }
    return batch;
  }
};

MetaCopy::MetaCopy(Scheduler& scheduler, Pool& pool, Allocator& allocator, Notice notice)
    : scheduler_(scheduler),
      pool_(pool),
      allocator_(allocator),
      notice_(std::move(notice)),
      lock_(scheduler),
      base_(pool, 0),
      log_(pool, 0),
      base_made_(scheduler) {}
MetaCopy::~MetaCopy() = default;

Task<Result<>> MetaCopy::find_end(std::uint64_t applied) {
  auto base = co_await MetaChain::find(pool_, place_.base, 1);
  if (!base) co_return std::unexpected(base.error());
  auto log = co_await MetaChain::find(pool_, place_.log, place_.log_first);
  if (!log) co_return std::unexpected(log.error());
  MetaChain::Point at{place_.mark.segment, place_.mark.block, place_.mark.sequence, place_.mark.hash, false};
  MetaChain::Point end = at;
  applied_ = place_.mark.applied;
  while (true) {
    auto piece = co_await log->read(at);
    if (!piece) co_return std::unexpected(piece.error());
    if (!*piece) break;
    // What was cut short within a batch is written over.
    if (((*piece)->flags & (MetaFrame::kEnd | MetaFrame::kSkip)) != 0) end = at;
    applied_ = std::max(applied_, (*piece)->applied);
  }
  if (applied_ < applied) co_return fail(ErrorKind::kCorrupt, 0, "its log ends too early");
  log->go_on_at(end);
  base_ = std::move(*base);
  log_ = std::move(*log);
  co_return Result<>{};
}

Task<Result<>> MetaCopy::open(std::uint64_t applied) {
  place_ = pool_.superblock().meta_copy;
  // Without a base there is nothing to go on with: one was being made when the store died.
  Result<> found;
  if (place_.whole()) found = co_await find_end(applied);
  if (!found) {
    tell(std::string("the copy of the metadata in the pool can't be used (") + found.error().text +
         "): it is made anew");
  }
  if (!active()) set_place({});
  co_return Result<>{};
}

void MetaCopy::keep() {
  if (!active() || mutated(Mutation::kCopyNotKept)) return;
  bool nobodys = allocator_.doubtful_pages() == 0 && !pool_.newer_may_be_lost();
  for (const MetaChain* chain : {&base_, &log_}) {
    for (const PhysicalRun& run : chain->runs()) nobodys = allocator_.keep(run) && nobodys;
  }
  if (nobodys) return;
  // Nothing may be written to it. Its blocks stay busy until the next open; the superblock forgets it with
  // the next checkpoint.
  tell(
      "the copy of the metadata in the pool is of another time, or it is not known what is free: it is made "
      "anew");
  base_ = log_ = MetaChain(pool_, 0);
  set_place({});
}

// The generation grows with every superblock that is written, and recovery writes one.
std::uint64_t MetaCopy::new_id() {
  return pool_.superblock().generation << 16 | (++chains_ & 0xffff);
}

void MetaCopy::set_place(const MetaCopyPlace& place) {
  place_ = place;
  pool_.set_meta_copy(place);
}

void MetaCopy::set_mark() {
  const MetaChain::Point& end = log_.point();
  MetaCopyPlace place = place_;
  place.mark = {end.segment, end.block, end.sequence, end.hash, applied_};
  set_place(place);
}

Task<Result<>> MetaCopy::append(std::span<const MetaBatch> batches, std::uint64_t applied) {
  co_await lock_.lock();
  Result<> done;
  if (active()) {
    for (const MetaBatch& batch : batches) {
      const bool last = &batch == &batches.back();
      if (done) done = co_await put(log_, batch.encoded(), last ? applied : 0);
    }
    applied_ = std::max(applied_, applied);
    if (done && !mutated(Mutation::kCopyNotSynced)) done = co_await pool_.sync_all();
    if (done) set_mark();
    if (is_no_space(done)) done = co_await drop_full();
    // A log that has failed is not what a base that is being made would go on with.
    if (!done) ++generation_;
  }
  lock_.unlock();
  co_return done;
}

Task<Result<>> MetaCopy::put(MetaChain& chain, std::span<const std::byte> payload, std::uint64_t applied) {
  do {
    if (chain.room_blocks() == 0) {
      auto added = co_await extend(chain);
      if (!added) co_return added;
    }
    const std::uint64_t most = std::min(chain.room_blocks() * kBlockBytes, kMaxMetaFrameBytes);
    const auto piece = payload.first(std::min<std::size_t>(payload.size(), most - kMetaFrameHeaderBytes));
    payload = payload.subspan(piece.size());
    const bool last = payload.empty();
    auto written = co_await chain.write(piece, last ? MetaFrame::kEnd : 0u, last ? applied : 0);
    if (!written) co_return written;
  } while (!payload.empty());
  co_return Result<>{};
}

// A segment of the log is named before it is relied on; one of a base need not be, before the base is.
Task<Result<>> MetaCopy::extend(MetaChain& chain) {
  const std::uint64_t so_far = chain.blocks();
  auto runs = co_await take(so_far);
  if (!runs) co_return std::unexpected(runs.error());
  std::vector<PhysicalRun> taken = std::move(*runs);
  auto done = co_await chain.add_segment(std::move(taken));
  if (!done || &chain != &log_) co_return done;
  done = co_await pool_.sync_all();
  if (!done) co_return done;
  MetaCopyPlace place = place_;
  place.log = log_.last_head();
  set_place(place);
  if (!mutated(Mutation::kCopySegmentUnnamed)) done = co_await pool_.write_meta_copy();
  co_return done;
}

Task<Result<std::vector<PhysicalRun>>> MetaCopy::take(std::uint64_t chain_blocks) {
  std::vector<PhysicalRun> runs;
  std::uint64_t wanted = std::clamp(chain_blocks / kSegmentShare, options_.segment_blocks,
                                    std::max(options_.segment_blocks, kMostSegmentBlocks));
  for (; wanted >= 2; wanted /= 2) {
    auto taken = co_await take_(wanted, runs);
    if (!taken) co_return std::unexpected(taken.error());
    if (*taken) break;
  }
  if (wanted < 2) co_return no_space();
  while (runs.size() > kMaxSegmentRuns) {
    allocator_.cancel(runs.back());
    runs.pop_back();
  }
  co_return runs;
}

void MetaCopy::free(const std::vector<PhysicalRun>& runs) {
  for (const PhysicalRun& run : runs) allocator_.cancel(run);
}

// Forgotten by the superblock first: what is freed may be written over at once.
Task<Result<>> MetaCopy::drop() {
  std::vector<PhysicalRun> runs = log_.runs();
  const std::vector<PhysicalRun> more = base_.runs();
  runs.insert(runs.end(), more.begin(), more.end());
  base_ = log_ = MetaChain(pool_, 0);
  applied_ = 0;
  ++generation_;
  set_place({});
  Result<> done;
  if (!mutated(Mutation::kCopyDroppedLate)) done = co_await pool_.write_meta_copy();
  if (done) free(runs);
  co_return done;
}

Task<Result<>> MetaCopy::drop_full() {
  if (whole() && !std::exchange(told_, true))
    tell("the pool is full: the copy of the metadata in it is given up, and made again when there is space");
  hold_off();
  auto done = co_await drop();
  co_return done;
}

Task<Result<bool>> MetaCopy::give_up() {
  co_await lock_.lock();
  const bool gives = active() || making_base_;
  Result<> done;
  if (active()) done = co_await drop_full();
  lock_.unlock();
  while (making_base_) co_await base_made_.wait();
  if (!done) co_return std::unexpected(done.error());
  co_return gives;
}

// What it took the last time, twice, and some for the writers.
void MetaCopy::hold_off() {
  not_before_ = scheduler_.now() + options_.retry;
  needed_blocks_ =
      2 * blocks() + std::min(allocator_.data_blocks() / kSpareShare, pool_.superblock().slab_blocks / 4);
}

bool MetaCopy::log_is_long() const {
  return log_.blocks() > 4 * std::max(base_.blocks(), options_.least_log_blocks);
}

bool MetaCopy::wants_base() const {
  if (making_base_ || scheduler_.now() < not_before_) return false;
  if (allocator_.free_blocks() < needed_blocks_) return false;
  return renew_ || !whole() || log_.blocks() > std::max(base_.blocks(), options_.least_log_blocks);
}

MetaCopy::Families MetaCopy::look(MetaStore& meta) {
  Families families;
  for (const Family family : {Family::kLeaf, Family::kChange, Family::kMeta}) {
    families.push_back(meta.iterate(family, Reach::kAll));
    families.back()->seek("");
  }
  return families;
}

Task<Result<bool>> MetaCopy::begin_base(MetaStore& meta) {
  Families captured;
  if (mutated(Mutation::kCopyUnquiet))
    captured = co_await in_background(scheduler_, [&meta] { return look(meta); });
  co_await lock_.lock();
  auto begun = co_await begin_locked(meta, std::move(captured));
  if (!begun && begun.error().kind == ErrorKind::kNoSpace) {
    hold_off();
    begun = false;
  }
  lock_.unlock();
  co_return begun;
}

Task<Result<bool>> MetaCopy::begin_locked(MetaStore& meta, Families captured) {
  if (making_base_) co_return false;
  MetaChain& log = log_;
  Result<> done;
  if (active()) {
    done = co_await log.leave_segments();
  } else {
    log_ = MetaChain(pool_, new_id());
    place_ = {.base = {}, .log = {}, .log_first = 1, .log_sequence = 0, .mark = {}};
  }
  if (done) done = co_await extend(log);
  if (!done && log_.empty()) log_ = MetaChain(pool_, 0);
  if (!done) co_return std::unexpected(done.error());
  auto capture = std::make_unique<Capture>();
  capture->log_segment = log_.last_number();
  capture->log_sequence = log_.point().sequence;
  capture->generation = generation_;
  capture->families = std::move(captured);
  if (capture->families.empty())
    capture->families = co_await in_background(scheduler_, [&meta] { return look(meta); });
  capture_ = std::move(capture);
  making_base_ = true;
  co_return true;
}

Task<Result<>> MetaCopy::write_base(const bool& stop, Pace pace, std::uint64_t most_bytes) {
  MetaChain base(pool_, new_id());
  auto done = co_await fill_base(base, stop, pace, most_bytes);
  if (done) done = co_await switch_to(base);
  capture_.reset();
  const bool full = is_no_space(done);
  const bool called_off = !done && done.error().kind == ErrorKind::kBusy;
  if (done || full || called_off) free(base.runs());
  if (full) hold_off();
  if (full || called_off) {
    co_await lock_.lock();
    done = {};
    // A log that no base stands below is worth nothing.
    if (active() && !whole()) done = co_await drop();
    lock_.unlock();
  }
  making_base_ = false;
  base_made_.wake_all();
  co_return done;
}

// kBusy: it is not to go on.
Task<Result<>> MetaCopy::fill_base(MetaChain& base, const bool& stop, Pace pace, std::uint64_t most_bytes) {
  Capture& capture = *capture_;
  const std::unexpected<Error> called_off = fail(ErrorKind::kBusy, 0, "called off");
  for (std::uint64_t bytes = 0;;) {
    const auto began = scheduler_.now();
    auto chunk = co_await in_background(scheduler_, [&capture] { return capture.next(); });
    if (!chunk) {
      tell(std::string("the metadata can't be read whole (") + chunk.error().text +
           "): its copy in the pool stays as it is; run 'coppice check'");
      hold_off();
      co_return called_off;
    }
    if (chunk->empty()) break;
    const std::span<const std::byte> payload = chunk->encoded();
    bytes += payload.size();
    if (stop || bytes > most_bytes || capture.generation != generation_) co_return called_off;
    auto written = co_await put(base, payload, 0);
    if (!written) co_return written;
    if (pace == Pace::kAtOnce) continue;
    const auto least = std::chrono::nanoseconds(payload.size() * 1'000'000'000 / options_.bytes_per_second);
    const auto took = scheduler_.now() - began;
    co_await sleep_for(scheduler_,
                       std::min<std::chrono::nanoseconds>(std::max(least - took, took), kLongestPause));
  }
  if (base.room_blocks() == 0) {
    auto added = co_await extend(base);
    if (!added) co_return added;
  }
  const std::span<const std::byte> nothing;
  auto written = co_await base.write(nothing, MetaFrame::kComplete, 0);
  co_return written;
}

// The base is durable before a superblock names it; that one is, before what it no longer names is freed.
// Then `base` is what was left.
Task<Result<>> MetaCopy::switch_to(MetaChain& base) {
  co_await lock_.lock();
  auto done = co_await switch_locked(base);
  lock_.unlock();
  co_return done;
}

Task<Result<>> MetaCopy::switch_locked(MetaChain& base) {
  if (capture_->generation != generation_) co_return fail(ErrorKind::kBusy, 0, "called off");
  Result<> done;
  if (!mutated(Mutation::kCopySwitchedEarly)) done = co_await pool_.sync_all();
  if (!done) co_return done;
  place_.base = base.last_head();
  place_.log_first = capture_->log_segment;
  place_.log_sequence = capture_->log_sequence;
  const std::vector<PhysicalRun> left = log_.forget_before(capture_->log_segment);
  std::swap(base_, base);
  set_mark();
  if (mutated(Mutation::kCopyFreedEarly)) {
    free(left);
    free(base.runs());
  }
  done = co_await pool_.write_meta_copy();
  if (done && !mutated(Mutation::kCopyFreedEarly)) free(left);
  renew_ = false;
  told_ = false;
  needed_blocks_ = 0;
  co_return done;
}

}  // namespace coppice
