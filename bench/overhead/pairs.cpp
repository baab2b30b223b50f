#include "overhead/pairs.h"

#include <cstdio>

namespace coppice::bench {

namespace {

constexpr Clock::duration kLongSlice = std::chrono::seconds(2);
constexpr unsigned kCheckpointsWanted = 3;
constexpr std::size_t kLeastLongPairs = 4;

void add(Slice& sum, const Slice& slice) {
  sum.operations += slice.operations;
  sum.written_bytes += slice.written_bytes;
  sum.cpu_us += slice.cpu_us;
  sum.device_bytes += slice.device_bytes;
  sum.seconds += slice.seconds;
}

double divide(double value, double by) {
  return by > 0 ? value / by : 0;
}

// Counts the slices in which the map's log grew, which only checkpoints make it. One that lasts over several
// slices is counted more than once, several in one slice only once.
class CheckpointWatch {
 public:
  explicit CheckpointWatch(EngineSide& engine) : engine_(engine), bytes_(engine.map_log_bytes()) {}
  void look() {
    const std::uint64_t bytes = engine_.map_log_bytes();
    if (bytes != bytes_) ++seen_;
    bytes_ = bytes;
  }
  [[nodiscard]] unsigned seen() const { return seen_; }

 private:
  EngineSide& engine_;
  std::uint64_t bytes_;
  unsigned seen_ = 0;
};

void measure_long(Lab& lab, Promise promise, const Side& engine, const Side& other,
                  const std::function<void()>& verify) {
  CheckpointWatch watch(lab.engine());
  std::vector<Pair> pairs;
  const auto start = Clock::now();
  bool writes = true;
  const Side watched = [&](Clock::duration length) {
    Slice slice = engine(length);
    watch.look();
    return slice;
  };
  const auto enough = [&] {
    if (Clock::now() - start > lab.options().long_limit || lab.time_is_up()) return true;
    return pairs.size() >= kLeastLongPairs && (!writes || watch.seen() >= kCheckpointsWanted);
  };
  while (pairs.empty() || !enough()) {
    for (Pair& pair : run_pairs(2, kLongSlice, watched, other)) pairs.push_back(std::move(pair));
    writes = pairs.front().engine.written_bytes != 0;
  }
  verify();
  promise.figure += "-long";
  Report report = speed_report(promise, pairs);
  report.columns["checkpoints"] = watch.seen();
  report.columns["seconds"] = std::chrono::duration<double>(Clock::now() - start).count();
  lab.report(report);
}

// In slices as well: what a side does before each of them belongs to the load.
void run_alone(Lab& lab, const Promise& promise, const Side& side) {
  Slice sum;
  for (unsigned i = 0; i < lab.options().pairs; ++i) add(sum, side(lab.options().slice));
  std::fprintf(stderr, "overhead: %s of %s alone: %.0f %s, %.1f us of CPU time each\n",
               promise.figure.c_str(), lab.options().profile.c_str(), sum.rate() * promise.unit_per_operation,
               promise.unit.c_str(), divide(sum.cpu_us, static_cast<double>(sum.operations)));
}

}  // namespace

std::vector<Pair> run_pairs(unsigned count, Clock::duration slice, const Side& engine, const Side& other) {
  std::vector<Pair> pairs(count);
  for (unsigned i = 0; i < count; ++i) {
    if (i % 2 == 0) pairs[i].other = other(slice);
    pairs[i].engine = engine(slice);
    if (i % 2 == 1) pairs[i].other = other(slice);
  }
  return pairs;
}

Report speed_report(const Promise& promise, const std::vector<Pair>& pairs) {
  std::vector<double> ratios;
  std::vector<double> rates;
  Slice engine;
  Slice other;
  for (const Pair& pair : pairs) {
    if (pair.engine.operations == 0 || pair.other.operations == 0)
      throw Unmeasurable("a slice was too short for a single request");
    ratios.push_back(pair.engine.rate() / pair.other.rate());
    rates.push_back(pair.engine.rate() * promise.unit_per_operation);
    add(engine, pair.engine);
    add(other, pair.other);
  }
  Report report = make_report(promise.figure, ratios, promise.floor, promise.goal);
  report.unit = promise.unit;
  report.value = quantile(rates, 0.5);
  report.columns["other_value"] = other.rate() * promise.unit_per_operation;
  report.columns["cpu_us_per_io"] = divide(engine.cpu_us, static_cast<double>(engine.operations));
  report.columns["other_cpu_us_per_io"] = divide(other.cpu_us, static_cast<double>(other.operations));
  if (engine.written_bytes != 0) {
    report.columns["device_bytes_per_guest_byte"] =
        divide(static_cast<double>(engine.device_bytes), static_cast<double>(engine.written_bytes));
    report.columns["other_device_bytes_per_guest_byte"] =
        divide(static_cast<double>(other.device_bytes), static_cast<double>(other.written_bytes));
  }
  return report;
}

void measure_speed(Lab& lab, const Promise& promise, const Side& engine, const Side& other,
                   const std::function<void()>& verify) {
  if (!lab.options().profile.empty()) {
    run_alone(lab, promise, lab.options().profile == "engine" ? engine : other);
    return;
  }
  run_pairs(2, lab.options().slice, engine, other);  // warm up
  const auto pairs = run_pairs(lab.options().pairs, lab.options().slice, engine, other);
  verify();
  lab.report(speed_report(promise, pairs));
  if (lab.options().long_runs() && !lab.time_is_up()) measure_long(lab, promise, engine, other, verify);
}

void measure_against_raw(Lab& lab, const Promise& promise, Disk& disk, const Job& job) {
  RawSide& raw = lab.raw();
  const std::uint64_t span = disk.ledger.span_bytes();
  Walk engine_walk(span, job.block_bytes, job.sequential, lab.seed());
  Walk raw_walk(span, job.block_bytes, job.sequential, lab.seed());
  measure_speed(
      lab, promise, [&](Clock::duration length) { return lab.engine().run(disk, job, engine_walk, length); },
      [&](Clock::duration length) { return raw.run(job, raw_walk, length); },
      [&] {
        lab.engine().verify(disk, kVerifiedBlocks);
        raw.verify(kVerifiedBlocks);
      });
}

}  // namespace coppice::bench
