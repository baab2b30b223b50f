// Snapshots while a guest writes, on a disk that has 10,000 of them: how long the verb takes and what the
// guest's requests feel. The raw side has the same load and, as often, a write with fdatasync.
#include "overhead/figures.h"
#include "overhead/pairs.h"

namespace coppice::bench {

namespace {

constexpr unsigned kExisting = 10000;
constexpr double kVerbLimit = 1.5;
constexpr double kGuestLimit = 2.0;
constexpr Clock::duration kSlice = std::chrono::milliseconds(500);

// Limit × raw ÷ engine of one quantile, pair by pair.
Report compare(const std::string& figure, const std::vector<Pair>& pairs, double limit, double part,
               std::vector<double> Slice::* times) {
  std::vector<double> ratios;
  std::vector<double> engine_us;
  std::vector<double> raw_us;
  std::vector<double> engine_worst_us;
  std::vector<double> raw_worst_us;
  for (const Pair& pair : pairs) {
    const auto& engine = pair.engine.*times;
    const auto& raw = pair.other.*times;
    if (engine.empty() || raw.empty()) throw Unmeasurable("a slice was too short for a snapshot");
    engine_us.push_back(quantile(engine, part));
    raw_us.push_back(quantile(raw, part));
    engine_worst_us.push_back(quantile(engine, 1.0));
    raw_worst_us.push_back(quantile(raw, 1.0));
    ratios.push_back(limit * raw_us.back() / engine_us.back());
  }
  Report report = make_report(figure, ratios, 1.0, 1.0);
  report.unit = "us";
  report.value = quantile(engine_us, 0.5);
  report.columns["other_value"] = quantile(raw_us, 0.5);
  report.columns["worst"] = quantile(engine_worst_us, 0.5);
  report.columns["other_worst"] = quantile(raw_worst_us, 0.5);
  return report;
}

}  // namespace

void snapshots_under_load(Lab& lab) {
  Disk& disk = lab.depth_pair(kExisting).deep;
  RawSide& raw = lab.raw();
  const Job job{.kind = Kind::kWrite,
                .depth = 32,
                .probe_every = std::chrono::milliseconds(25),
                .record_latency = true};
  Walk engine_walk(disk.ledger.span_bytes(), kBlockBytes, false, lab.seed());
  Walk raw_walk(disk.ledger.span_bytes(), kBlockBytes, false, lab.seed());
  const Side engine_side = [&](Clock::duration length) {
    return lab.engine().run(disk, job, engine_walk, length);
  };
  const Side raw_side = [&](Clock::duration length) { return raw.run(job, raw_walk, length); };
  run_pairs(1, kSlice, engine_side, raw_side);
  const auto pairs = run_pairs(lab.options().pairs, kSlice, engine_side, raw_side);
  lab.engine().verify(disk, kVerifiedBlocks);
  lab.report(compare("snapshot-p50", pairs, kVerbLimit, 0.5, &Slice::probe_us));
  lab.report(compare("snapshot-guest-p99", pairs, kGuestLimit, 0.99, &Slice::latency_us));
}

}  // namespace coppice::bench
