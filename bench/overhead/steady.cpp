// The steady state: a written disk, no snapshots, the map in memory.
#include "overhead/figures.h"
#include "overhead/pairs.h"

namespace coppice::bench {

namespace {

constexpr std::uint64_t kSequentialBytes = std::uint64_t{1} << 20;
constexpr unsigned kSequentialDepth = 4;

void measure(Lab& lab, const Promise& promise, const Job& job) {
  measure_against_raw(lab, promise, lab.main_disk(), job);
}

}  // namespace

void write_qd1(Lab& lab) {
  measure(lab, {.figure = "write-qd1", .floor = 0.90, .goal = 0.95}, {.kind = Kind::kWrite, .depth = 1});
}
void write_qd32(Lab& lab) {
  measure(lab, {.figure = "write-qd32", .floor = 0.90, .goal = 0.95}, {.kind = Kind::kWrite, .depth = 32});
}
void write_qd128(Lab& lab) {
  measure(lab, {.figure = "write-qd128", .floor = 0.90, .goal = 0.97}, {.kind = Kind::kWrite, .depth = 128});
}
void read_qd1(Lab& lab) {
  measure(lab, {.figure = "read-qd1", .floor = 0.97, .goal = 0.99}, {.kind = Kind::kRead, .depth = 1});
}
void read_qd32(Lab& lab) {
  measure(lab, {.figure = "read-qd32", .floor = 0.97, .goal = 0.99}, {.kind = Kind::kRead, .depth = 32});
}
void sync_qd1(Lab& lab) {
  measure(lab, {.figure = "sync-qd1", .floor = 0.90, .goal = 0.97}, {.kind = Kind::kWriteSync, .depth = 1});
}

void sequential(Lab& lab) {
  const Promise promise{.figure = "seq-1m", .floor = 0.97, .goal = 0.97, .unit = "MiB/s"};
  measure(
      lab, promise,
      {.kind = Kind::kRead, .block_bytes = kSequentialBytes, .depth = kSequentialDepth, .sequential = true});
}

// Before each slice the store is opened anew with a cache far smaller than what the map and the checksums of
// the disk take, and the kernel forgets the store's files.
void read_cold(Lab& lab) {
  constexpr std::uint64_t kColdCacheBytes = std::uint64_t{1} << 20;
  Disk& disk = lab.main_disk();
  RawSide& raw = lab.raw();
  const Job job{.kind = Kind::kRead, .depth = 32};
  Walk engine_walk(disk.ledger.span_bytes(), kBlockBytes, false, lab.seed());
  Walk raw_walk(disk.ledger.span_bytes(), kBlockBytes, false, lab.seed());
  const auto cold_slice = [&](Clock::duration length) {
    lab.engine().reopen(kColdCacheBytes, {&disk});
    lab.engine().drop_page_cache();
    return lab.engine().run(disk, job, engine_walk, length);
  };
  lab.detach_all_but(disk);
  measure_speed(
      lab, {.figure = "read-cold", .floor = 0.40, .goal = 0.45}, cold_slice,
      [&](Clock::duration length) { return raw.run(job, raw_walk, length); },
      [&] { lab.engine().verify(disk, kVerifiedBlocks); });
  lab.engine().reopen(kDefaultCacheBytes, {&disk});
  lab.attach_all();
}

}  // namespace coppice::bench
