// What the engine keeps in memory for a contiguous disk, from the heap's growth as the second half of a disk
// that is alone in its store is brought in (fixed costs are paid by then), scaled to a TiB. And that 64 MiB
// of cache are enough.
#include <malloc.h>
#include <unistd.h>

#include <fstream>

#include "overhead/figures.h"
#include "overhead/pairs.h"

namespace coppice::bench {

namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024;
constexpr double kLimitGiB = 1.6;
constexpr std::uint64_t kSmallCacheBytes = std::uint64_t{64} << 20;

std::uint64_t heap_bytes() {
  const auto info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

double resident_mib() {
  std::ifstream file("/proc/self/statm");
  double pages = 0;
  file >> pages >> pages;
  return pages * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1024.0 * 1024);
}

// One block of each leaf brings in the leaf and its checksums.
void touch(EngineSide& engine, Disk& disk, Walk& walk, std::uint64_t until) {
  while (walk.visited() < until)
    engine.run(disk, {.kind = Kind::kRead, .depth = 1}, walk, Clock::duration::zero());
}

}  // namespace

void memory(Lab& lab) {
  EngineSide engine(lab.path("memory"));
  Disk disk = engine.make_disk("disk", lab.options().size_bytes);
  engine.reopen(std::uint64_t{4} << 30, {&disk});
  Walk walk(disk.ledger.span_bytes(), kLeafBlocks * kBlockBytes, true, 0);
  touch(engine, disk, walk, walk.places() / 2);
  const std::uint64_t before = heap_bytes();
  touch(engine, disk, walk, walk.places());
  const auto grown = static_cast<double>(heap_bytes()) - static_cast<double>(before);
  const double half_gib = static_cast<double>(disk.ledger.span_bytes()) / 2 / kGiB;
  const double per_tib = grown / half_gib * 1024 / kGiB;
  if (per_tib <= 0) throw Unmeasurable("the heap did not grow");

  engine.reopen(kSmallCacheBytes, {&disk});
  Walk random(disk.ledger.span_bytes(), kBlockBytes, false, lab.seed());
  engine.run(disk, {.kind = Kind::kMixed, .depth = 32}, random, 4 * lab.options().slice);
  engine.verify(disk, kVerifiedBlocks);
  Report report = make_report("memory", {kLimitGiB / per_tib}, 1.0, 1.0);
  report.unit = "GiB/TiB";
  report.value = per_tib;
  report.columns["resident_mib_at_64_mib_cache"] = resident_mib();
  lab.report(report);
}

}  // namespace coppice::bench
