// The space that random 4 KiB writes after a snapshot take, ÷ the bytes they changed; on a disk written in
// order, and again and again as ten snapshots fragment it. The worst of them counts. Of the pool what is
// allocated to data; checksum pages and bitmaps are a fixed 0.2 % beside it.
#include "overhead/figures.h"
#include "overhead/pairs.h"

namespace coppice::bench {

namespace {

constexpr double kLimit = 1.25;
constexpr unsigned kSnapshots = 11;

}  // namespace

void space(Lab& lab) {
  EngineSide& engine = lab.engine();
  Disk disk = engine.make_disk("space", lab.small_bytes());
  Walk walk(disk.ledger.span_bytes(), kBlockBytes, false, lab.seed());
  const Job job{.kind = Kind::kWrite, .depth = 32};
  std::vector<double> ratios;
  std::vector<double> costs;
  const std::uint64_t map_before = engine.map_bytes();
  const std::uint64_t pool_before = engine.pool_used_bytes();
  for (unsigned i = 0; i < kSnapshots; ++i) {
    engine.snapshot(disk.name, "s" + std::to_string(i));
    const std::uint64_t used = engine.pool_used_bytes();
    const Slice slice = engine.run(disk, job, walk, lab.options().slice);
    // A block that came up twice in the round would not have been a change.
    if (slice.operations > walk.places()) throw Unmeasurable("the disk is too small for a slice");
    engine.flush(disk);
    costs.push_back(static_cast<double>(engine.pool_used_bytes() - used) /
                    static_cast<double>(slice.written_bytes));
    ratios.push_back(kLimit / costs.back());
  }
  engine.verify(disk, kVerifiedBlocks);
  const auto grown = static_cast<double>(engine.pool_used_bytes() - pool_before);
  Report report = make_report("space", ratios, 1.0, 1.0);
  report.ratio.median = report.ratio.q1 = quantile(ratios, 0.0);
  report.unit = "bytes/byte";
  report.value = quantile(costs, 1.0);
  report.columns["map_bytes_per_pool_byte"] =
      (static_cast<double>(engine.map_bytes()) - static_cast<double>(map_before)) / grown;
  lab.report(report);
  engine.remove_disk(disk);
}

}  // namespace coppice::bench
