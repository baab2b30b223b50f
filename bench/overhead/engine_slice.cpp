// A slice on the engine: one coroutine for each request in flight.
#include "coppice/aligned_buffer.h"
#include "overhead/counters.h"
#include "overhead/engine_side.h"

namespace coppice::bench {

namespace {

// What the coroutines of a slice share.
struct Running {
  Running(const Job& what, Disk& target, Walk& places, Slice& into)
      : job(what), disk(target), walk(places), slice(into) {}
  const Job& job;
  Disk& disk;
  Walk& walk;
  Slice& slice;
  Clock::time_point end;
  Latch done;
  std::optional<Error> error;
  std::string refusal;

  [[nodiscard]] bool over() const { return Clock::now() >= end || error || !refusal.empty(); }
};

double microseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

Task<Result<>> write_one(Running& running, std::uint64_t offset, std::span<const std::byte> memory) {
  auto written = co_await running.disk.device->write(offset, memory, {});
  if (written && running.job.kind == Kind::kWriteSync) written = co_await running.disk.device->flush();
  if (written) running.slice.written_bytes += memory.size();
  co_return written;
}

Task<void> client(Running& running, std::span<std::byte> memory, std::uint64_t turn) {
  const Job& job = running.job;
  do {
    const std::uint64_t offset = running.walk.next();
    const bool reading = job.kind == Kind::kRead || (job.kind == Kind::kMixed && turn++ % 2 == 0);
    if (!reading) running.disk.ledger.stamp(offset, memory);
    const auto start = job.record_latency ? Clock::now() : Clock::time_point{};
    Result<> result;
    if (reading) {
      result = co_await running.disk.device->read(offset, memory);
    } else if (job.kind == Kind::kWriteSync) {
      result = co_await write_one(running, offset, memory);
    } else {
      result = co_await running.disk.device->write(offset, memory, {});
      running.slice.written_bytes += memory.size();
    }
    if (!result) running.error = result.error();
    ++running.slice.operations;
    if (job.record_latency) running.slice.latency_us.push_back(microseconds_since(start));
  } while (!running.over());
  running.done.arrive();
}

Task<void> take_snapshots(Running& running, Store& store, Scheduler& scheduler, std::uint64_t& number) {
  while (true) {
    co_await sleep_for(scheduler, running.job.probe_every);
    if (running.over()) break;
    std::vector<Spec> specs{{running.disk.name, "probe" + std::to_string(number++)}};
    const auto start = Clock::now();
    auto taken = co_await store.snapshot(std::move(specs), SnapshotOptions{});
    if (!taken) running.refusal = taken.error().message;
    running.slice.probe_us.push_back(microseconds_since(start));
  }
  running.done.arrive();
}

Task<void> remove_snapshots(Running& running, Store& store) {
  std::vector<Spec> doomed = running.job.doomed;
  auto done = co_await store.remove(std::move(doomed), false);
  if (!done) running.refusal = done.error().message;
  running.done.arrive();
}

Task<void> all_clients(Running& running, std::vector<AlignedBuffer>& buffers) {
  for (std::size_t i = 0; i < running.job.depth; ++i) spawn(client(running, buffers[i].span(), i));
  co_await running.done;
}

}  // namespace

void EngineSide::prepare_buffers(const Job& job) {
  if (!buffers_.empty() && buffers_.front().size() != job.block_bytes) buffers_.clear();
  while (buffers_.size() < job.depth) {
    buffers_.emplace_back(job.block_bytes);
    fill_random(buffers_.back().span(), buffers_.size());
  }
}

Slice EngineSide::run(Disk& disk, const Job& job, Walk& walk, Clock::duration length) {
  prepare_buffers(job);
  Slice slice;
  Running running(job, disk, walk, slice);
  running.done.add(job.depth);
  Meter meter(slice);
  running.end = Clock::now() + length;
  if (job.probe_every.count() != 0) {
    running.done.add();
    spawn(take_snapshots(running, *store_, *reactor_, probes_));
  }
  if (!job.doomed.empty()) {
    running.done.add();
    spawn(remove_snapshots(running, *store_));
  }
  reactor_->run(all_clients(running, buffers_));
  meter.finish();
  if (running.error) throw Unmeasurable("disk " + disk.name + ": " + running.error->text);
  if (!running.refusal.empty()) throw Unmeasurable(running.refusal);
  return slice;
}

}  // namespace coppice::bench
