// Each block's first write after a snapshot, beside random writes of the raw side. Before every slice of the
// engine a snapshot is taken, outside the time; a slice comes to no block twice.
#include "overhead/figures.h"
#include "overhead/pairs.h"

namespace coppice::bench {

namespace {

constexpr unsigned kFragmentingSnapshots = 10;

// Snapshots stay, but not more than the device has room for: each run of a disk's worth of writes keeps that
// much space.
class SnapshotTaker {
 public:
  SnapshotTaker(EngineSide& engine, Disk& disk) : engine_(engine), disk_(disk) {}
  void take() {
    engine_.snapshot(disk_.name, "first" + std::to_string(taken_++));
    while (taken_ - removed_ > kKept) {
      engine_.must(engine_.store().remove({{disk_.name, "first" + std::to_string(removed_++)}}, false));
    }
  }

 private:
  static constexpr unsigned kKept = 32;
  EngineSide& engine_;
  Disk& disk_;
  unsigned taken_ = 0;
  unsigned removed_ = 0;
};

void measure_first_writes(Lab& lab, const Promise& promise, Disk& disk) {
  RawSide& raw = lab.raw();
  const Job job{.kind = Kind::kWrite, .depth = 32};
  const std::uint64_t span = disk.ledger.span_bytes();
  Walk engine_walk(span, kBlockBytes, false, lab.seed());
  Walk raw_walk(span, kBlockBytes, false, lab.seed());
  SnapshotTaker snapshots(lab.engine(), disk);
  measure_speed(
      lab, promise,
      [&](Clock::duration length) {
        snapshots.take();
        return lab.engine().run(disk, job, engine_walk, length);
      },
      [&](Clock::duration length) { return raw.run(job, raw_walk, length); },
      [&] { lab.engine().verify(disk, kVerifiedBlocks); });
}

// A tenth of the disk, at random, after each of ten snapshots.
void fragment(Lab& lab, Disk& disk) {
  Walk walk(disk.ledger.span_bytes(), kBlockBytes, false, lab.seed());
  const Job job{.kind = Kind::kWrite, .depth = 32};
  for (unsigned i = 0; i < kFragmentingSnapshots; ++i) {
    lab.engine().snapshot(disk.name, "fragment" + std::to_string(i));
    while (walk.visited() < walk.places() / kFragmentingSnapshots * (i + 1))
      lab.engine().run(disk, job, walk, std::chrono::milliseconds(20));
  }
}

}  // namespace

void first_write(Lab& lab) {
  lab.lay_out();
  Disk disk = lab.engine().make_disk("first", lab.small_bytes());
  measure_first_writes(lab, {.figure = "first-write", .floor = 0.80, .goal = 1.0}, disk);
  lab.engine().remove_disk(disk);
}

void first_write_fragmented(Lab& lab) {
  lab.lay_out();
  Disk disk = lab.engine().make_disk("fragmented", lab.small_bytes());
  fragment(lab, disk);
  measure_first_writes(lab, {.figure = "first-write-fragmented", .floor = 0.80, .goal = 1.0}, disk);
  lab.engine().remove_disk(disk);
}

}  // namespace coppice::bench
