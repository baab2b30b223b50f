#include "overhead/raw_side.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "overhead/counters.h"

namespace coppice::bench {

namespace {

constexpr unsigned kRingEntries = 1024;
constexpr unsigned kBatch = 256;
// As the engine does (io/uring_backend.cpp), with the numbers that are best on this side: faster than to
// start all at once.
constexpr unsigned kStartAtLeast = 4;
constexpr unsigned kStartPart = 8;
constexpr std::uint64_t kScanBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kNowhere = ~std::uint64_t{0};

void work_for(std::chrono::nanoseconds time) {
  if (time.count() == 0) return;
  const auto end = Clock::now() + time;
  while (Clock::now() < end) continue;
}

}  // namespace

// What a slice needs while it runs.
struct RawSide::Running {
  const Job& job;
  Walk& walk;
  Slice& slice;
  Clock::time_point end;
  Clock::time_point next_probe;
  Clock::time_point now;
  unsigned in_flight = 0;
  bool probing = false;
  std::int32_t error = 0;
};

RawSide::RawSide(const std::string& pool_file, Ledger ledger) : ledger_(std::move(ledger)) {
  descriptor_ = open(pool_file.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
  if (descriptor_ < 0) throw Unmeasurable(pool_file + ": " + std::strerror(errno));
  io_uring_params parameters{};
  parameters.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE;
  parameters.cq_entries = kRingEntries * 8;
  if (const int error = io_uring_queue_init_params(kRingEntries, &ring_, &parameters); error < 0)
    throw Unmeasurable(std::string("no io_uring: ") + std::strerror(-error));
  ring_made_ = true;
  find_blocks();
}

RawSide::~RawSide() {
  if (ring_made_) io_uring_queue_exit(&ring_);
  if (descriptor_ >= 0) close(descriptor_);
}

// By what stands in them: how the engine places blocks is its own business.
void RawSide::find_blocks() {
  places_.assign(ledger_.span_bytes() / kBlockBytes, kNowhere);
  std::uint64_t found = 0;
  const AlignedBuffer memory(kScanBytes);
  for (std::uint64_t at = 0; found < places_.size(); at += kScanBytes) {
    const ssize_t got = pread(descriptor_, memory.data(), kScanBytes, static_cast<off_t>(at));
    if (got <= 0) throw Unmeasurable("the raw side's blocks are not all in the pool's file");
    for (std::uint64_t in = 0; in + kBlockBytes <= static_cast<std::uint64_t>(got); in += kBlockBytes) {
      const auto offset = ledger_.recognize(memory.span().subspan(in, kBlockBytes));
      if (!offset || places_[*offset / kBlockBytes] != kNowhere) continue;
      places_[*offset / kBlockBytes] = at + in;
      ++found;
    }
  }
}

void RawSide::choose_place(Running& running, Slot& slot) const {
  for (std::uint64_t tried = 0; tried < running.walk.places(); ++tried) {
    slot.offset_bytes = running.walk.next();
    if (in_one_piece(slot.offset_bytes, running.job.block_bytes)) return;
  }
  throw Unmeasurable("none of the raw side's blocks stand side by side");
}

bool RawSide::in_one_piece(std::uint64_t offset_bytes, std::uint64_t length_bytes) const {
  const std::uint64_t first = offset_bytes / kBlockBytes;
  const std::uint64_t last = first + length_bytes / kBlockBytes - 1;
  return places_[last] - places_[first] == (last - first) * kBlockBytes;
}

void RawSide::prepare(unsigned slots, std::uint64_t bytes) {
  if (slots_.size() < slots) slots_.resize(slots);
  for (unsigned i = 0; i < slots; ++i) {
    if (slots_[i].memory.size() < bytes) {
      slots_[i].memory = AlignedBuffer(bytes);
      fill_random(slots_[i].memory.span(), i);
    }
    slots_[i].syncing = slots_[i].probe = false;
    slots_[i].turn = i;
  }
}

void RawSide::submit(Slot& slot) {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  const auto length = static_cast<unsigned>(slot.memory.size());
  if (slot.syncing) {
    io_uring_prep_fsync(entry, descriptor_, IORING_FSYNC_DATASYNC);
  } else if (slot.reading) {
    io_uring_prep_read(entry, descriptor_, slot.memory.data(), length,
                       places_[slot.offset_bytes / kBlockBytes]);
  } else {
    io_uring_prep_write(entry, descriptor_, slot.memory.data(), length,
                        places_[slot.offset_bytes / kBlockBytes]);
  }
  io_uring_sqe_set_data(entry, &slot);
}

void RawSide::begin(Running& running, Slot& slot) {
  const Job& job = running.job;
  slot.reading =
      !slot.probe && (job.kind == Kind::kRead || (job.kind == Kind::kMixed && slot.turn++ % 2 == 0));
  choose_place(running, slot);
  if (!slot.reading) ledger_.stamp(slot.offset_bytes, slot.memory.span());
  if (job.record_latency || slot.probe) slot.start = Clock::now();
  ++running.in_flight;
  submit(slot);
}

void RawSide::finish(Running& running, Slot& slot, std::int32_t result) {
  --running.in_flight;
  const auto expected = slot.syncing ? 0 : static_cast<std::int32_t>(slot.memory.size());
  if (result != expected) running.error = result < 0 ? result : -EIO;
  const bool sync_follows = !slot.syncing && (slot.probe || running.job.kind == Kind::kWriteSync);
  if (sync_follows && running.error == 0) {
    slot.syncing = true;
    ++running.in_flight;
    submit(slot);
    return;
  }
  slot.syncing = false;
  const auto taken = std::chrono::duration<double, std::micro>(running.now - slot.start).count();
  if (slot.probe) {
    running.slice.probe_us.push_back(taken);
    running.probing = false;
    return;
  }
  ++running.slice.operations;
  work_for(running.job.work);
  if (!slot.reading) running.slice.written_bytes += slot.memory.size();
  if (running.job.record_latency) running.slice.latency_us.push_back(taken);
  if (running.now < running.end && running.error == 0) begin(running, slot);
}

void RawSide::begin_due_probe(Running& running) {
  const auto interval = running.job.probe_every;
  if (interval.count() == 0 || running.probing || running.now < running.next_probe) return;
  if (running.now >= running.end) return;
  running.next_probe = running.now + interval;
  running.probing = true;
  Slot& slot = slots_[running.job.depth];
  slot.probe = true;
  begin(running, slot);
}

Slice RawSide::run(const Job& job, Walk& walk, Clock::duration length) {
  // Of a larger one only the ends are known to stand where they should.
  if (job.writes() && job.block_bytes != kBlockBytes) throw Unmeasurable("the raw side writes single blocks");
  const unsigned slots = job.depth + (job.probe_every.count() != 0 ? 1 : 0);
  if (!slots_.empty() && slots_.front().memory.size() != job.block_bytes) slots_.clear();
  prepare(slots, job.block_bytes);
  Slice slice;
  Meter meter(slice);
  const auto start = Clock::now();
  Running running{job, walk, slice, start + length, start + job.probe_every, start};
  for (unsigned i = 0; i < job.depth; ++i) begin(running, slots_[i]);
  std::array<io_uring_cqe*, kBatch> completions{};
  while (running.in_flight != 0) {
    io_uring_submit_and_wait(&ring_, 1);
    running.now = Clock::now();
    const unsigned count = io_uring_peek_batch_cqe(&ring_, completions.data(), kBatch);
    for (unsigned i = 0; i < count; ++i) {
      auto* slot = static_cast<Slot*>(io_uring_cqe_get_data(completions[i]));
      finish(running, *slot, completions[i]->res);
      if (io_uring_sq_ready(&ring_) >= std::max(kStartAtLeast, running.in_flight / kStartPart))
        io_uring_submit(&ring_);
    }
    io_uring_cq_advance(&ring_, count);
    begin_due_probe(running);
  }
  meter.finish();
  if (running.error != 0) throw Unmeasurable(std::string("the raw side: ") + std::strerror(-running.error));
  return slice;
}

void RawSide::verify(std::uint64_t samples) {
  Walk walk(ledger_.span_bytes(), kBlockBytes, false, ledger_.writes());
  const AlignedBuffer memory(kBlockBytes);
  for (std::uint64_t i = 0; i < std::min(samples, walk.places()); ++i) {
    const std::uint64_t at = walk.next();
    const auto place = static_cast<off_t>(places_[at / kBlockBytes]);
    const bool whole = pread(descriptor_, memory.data(), kBlockBytes, place) == kBlockBytes;
    if (!whole || !ledger_.matches(at, memory.span())) throw Unmeasurable("the raw side lost a block");
  }
}

}  // namespace coppice::bench
