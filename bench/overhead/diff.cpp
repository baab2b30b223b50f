// Changed blocks a second that a diff of two snapshots yields, compared with what was written between them.
#include <algorithm>
#include <vector>

#include "overhead/figures.h"
#include "overhead/pairs.h"

namespace coppice::bench {

namespace {

constexpr double kBlocksPerSecond = 1e6;

// Writes every block whose turn comes in half a walk, and remembers which.
std::vector<bool> change_half(Lab& lab, Disk& disk) {
  const std::uint64_t span = disk.ledger.span_bytes();
  const std::uint64_t seed = lab.seed();
  Walk walk(span, kBlockBytes, false, seed);
  const Job job{.kind = Kind::kWrite, .depth = 32};
  while (walk.visited() < walk.places() / 2) lab.engine().run(disk, job, walk, std::chrono::milliseconds(20));
  std::vector<bool> changed(span / kBlockBytes);
  Walk again(span, kBlockBytes, false, seed);
  for (std::uint64_t i = 0; i < walk.visited(); ++i) changed[again.next() / kBlockBytes] = true;
  return changed;
}

void demand_equal(const std::vector<DiffRange>& ranges, std::vector<bool> expected) {
  for (const DiffRange& range : ranges) {
    const std::uint64_t end = range.offset_bytes + range.length_bytes;
    for (std::uint64_t at = range.offset_bytes; at < end; at += kBlockBytes) {
      if (!expected[at / kBlockBytes]) throw Unmeasurable("the diff names a block that is the same");
      expected[at / kBlockBytes] = false;
    }
  }
  for (const bool missing : expected) {
    if (missing) throw Unmeasurable("the diff misses a block");
  }
}

}  // namespace

void diff(Lab& lab) {
  EngineSide& engine = lab.engine();
  Disk disk = engine.make_disk("diff", lab.options().size_bytes / 2);
  engine.snapshot(disk.name, "a");
  const std::vector<bool> changed = change_half(lab, disk);
  engine.snapshot(disk.name, "b");
  const auto blocks = static_cast<double>(std::ranges::count(changed, true));
  std::vector<double> rates;
  std::vector<double> ratios;
  for (unsigned i = 0; i < lab.options().pairs; ++i) {
    const auto start = Clock::now();
    const auto ranges = engine.must(engine.store().diff({disk.name, "a"}, {disk.name, "b"}, 0));
    rates.push_back(blocks / std::chrono::duration<double>(Clock::now() - start).count());
    ratios.push_back(rates.back() / kBlocksPerSecond);
    if (i == 0) demand_equal(ranges, changed);
  }
  Report report = make_report("diff", ratios, 1.0, 1.0);
  report.unit = "blocks/s";
  report.value = quantile(rates, 0.5);
  report.columns["changed_blocks"] = blocks;
  report.columns["first_blocks_per_s"] = rates.front();
  lab.report(report);
  engine.remove_disk(disk);
}

}  // namespace coppice::bench
