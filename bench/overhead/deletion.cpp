// Half of 10,000 snapshots is removed while a guest reads or writes: what the guest's slowest requests feel
// of it, what is read and written for it, and whether as much space came back as was foretold. Slices with
// deletions and slices without, on the same disk, in turn. A slice with them begins with removing its share
// in one verb, as a range of snapshots or a schedule's are; what it had not given back when it ended is
// waited for before the next one begins.
#include <fmt/format.h>

#include "overhead/counters.h"
#include "overhead/figures.h"
#include "overhead/pairs.h"

namespace coppice::bench {

namespace {

constexpr unsigned kDeletionSnapshots = 10000;
constexpr unsigned kQuickDeletionSnapshots = 400;
constexpr std::uint64_t kBlocksBetween = 64;
// Written over and over, so that most of what a snapshot keeps is kept by few: there is something to free.
constexpr std::uint64_t kHotBytes = std::uint64_t{64} << 20;
constexpr double kSlowerLimit = 1.1;
constexpr Clock::duration kDeletionSlice = std::chrono::milliseconds(500);

std::string number(unsigned snapshot) {
  return fmt::format("s{:05}", snapshot);
}

// A disk written in full since its last snapshot, so that the guest itself takes no more space and frees
// none.
class DeletionScene {
 public:
  DeletionScene(Lab& lab, unsigned snapshots)
      : lab_(lab), disk_(lab.engine().make_disk("deletion", lab.small_bytes())) {
    EngineSide& engine = lab.engine();
    Walk walk(std::min(kHotBytes, lab.small_bytes() / 4), kBlockBytes, false, lab.seed());
    const Job churn{.kind = Kind::kWrite, .depth = kBlocksBetween};
    for (unsigned i = 0; i < snapshots; ++i) {
      engine.run(disk_, churn, walk, Clock::duration::zero());
      engine.snapshot(disk_.name, number(i));
      if (i < snapshots / 2) doomed_.push_back({disk_.name, number(i)});
    }
    engine.fill(disk_);
    total_ = doomed_.size();
    lab.detach_all_but(disk_);
  }
  ~DeletionScene() {
    try {
      lab_.engine().remove_disk(disk_);
    } catch (const Unmeasurable&) {
      disk_.device.reset();  // The figure has failed already; the store is thrown away at the end.
    }
  }
  DeletionScene(const DeletionScene&) = delete;
  DeletionScene& operator=(const DeletionScene&) = delete;

  Disk& disk() { return disk_; }
  [[nodiscard]] std::size_t total() const { return total_; }
  [[nodiscard]] std::size_t left() const { return doomed_.size(); }
  // The next so many, oldest first.
  std::vector<Spec> share(std::size_t count) {
    const auto end = doomed_.begin() + static_cast<std::ptrdiff_t>(std::min(count, doomed_.size()));
    std::vector<Spec> specs(doomed_.begin(), end);
    doomed_.erase(doomed_.begin(), end);
    return specs;
  }
  std::uint64_t foretold_bytes() {
    EngineSide& engine = lab_.engine();
    return engine.must(engine.store().space_of(doomed_, true)).own_bytes;
  }

 private:
  Lab& lab_;
  Disk disk_;
  std::vector<Spec> doomed_;
  std::size_t total_ = 0;
};

struct Half {
  std::vector<Pair> pairs;
  std::uint64_t freed_bytes = 0;
  std::uint64_t freed_under_load_bytes = 0;
};

Report compare(const std::string& figure, const Half& half) {
  std::vector<double> ratios;
  std::vector<double> with_us;
  std::vector<double> without_us;
  double slowdown = 0;
  for (const Pair& pair : half.pairs) {
    if (pair.engine.operations == 0 || pair.other.operations == 0)
      throw Unmeasurable("a slice was too short for a single request");
    with_us.push_back(quantile(pair.engine.latency_us, 0.99));
    without_us.push_back(quantile(pair.other.latency_us, 0.99));
    ratios.push_back(kSlowerLimit * without_us.back() / with_us.back());
    slowdown += pair.engine.rate() / pair.other.rate();
  }
  Report report = make_report(figure, ratios, 1.0, 1.0);
  report.unit = "us";
  report.value = quantile(with_us, 0.5);
  report.columns["other_value"] = quantile(without_us, 0.5);
  report.columns["rate_of_other"] = slowdown / static_cast<double>(half.pairs.size());
  report.columns["freed_under_load"] =
      static_cast<double>(half.freed_under_load_bytes) / static_cast<double>(half.freed_bytes);
  return report;
}

// Slices of both sides; each with deletions takes its share of what is still to be removed.
Half run_half(Lab& lab, DeletionScene& scene, Kind kind, std::size_t share) {
  Half half;
  EngineSide& engine = lab.engine();
  Walk walk(scene.disk().ledger.span_bytes(), kBlockBytes, false, lab.seed());
  const Job quiet{.kind = kind, .depth = 32, .record_latency = true};
  const Side without = [&](Clock::duration length) { return engine.run(scene.disk(), quiet, walk, length); };
  const Side with = [&](Clock::duration length) {
    Job job = quiet;
    job.doomed = scene.share(share);
    const std::uint64_t used = engine.pool_used_bytes();
    Slice slice = engine.run(scene.disk(), job, walk, length);
    half.freed_under_load_bytes += used - engine.pool_used_bytes();
    engine.must(engine.store().wait_for_reclaim());
    half.freed_bytes += used - engine.pool_used_bytes();
    return slice;
  };
  without(kDeletionSlice);
  half.pairs = run_pairs(lab.options().pairs, lab.options().quick ? lab.options().slice : kDeletionSlice,
                         with, without);
  return half;
}

}  // namespace

void deletion(Lab& lab) {
  EngineSide& engine = lab.engine();
  lab.lay_out();
  DeletionScene scene(lab, lab.options().quick ? kQuickDeletionSnapshots : kDeletionSnapshots);
  const std::size_t share = scene.total() / (std::size_t{2} * lab.options().pairs);
  const std::uint64_t foretold = scene.foretold_bytes();
  const std::uint64_t before = engine.pool_used_bytes();
  const Half writing = run_half(lab, scene, Kind::kWrite, share);
  // Closing brings all into its place: what is written from here on is the deletions' and nothing else's, and
  // their checkpoint is part of it.
  engine.reopen(kDefaultCacheBytes, {&scene.disk()});
  const std::uint64_t written_before = process_io("write_bytes");
  const Half reading = run_half(lab, scene, Kind::kRead, share);
  engine.reopen(kDefaultCacheBytes, {&scene.disk()});
  const auto written = static_cast<double>(process_io("write_bytes") - written_before);
  const auto under_load = static_cast<double>(scene.total() - scene.left());
  engine.must(engine.store().remove(scene.share(scene.left()), false));
  engine.must(engine.store().wait_for_reclaim());
  const std::uint64_t freed = before - engine.pool_used_bytes();
  engine.verify(scene.disk(), kVerifiedBlocks);
  if (freed != foretold)
    throw Unmeasurable(fmt::format("du foretold {} bytes, {} came back", foretold, freed));

  Report write = compare("delete-p99-write", writing);
  write.columns["removed_under_load"] = under_load;
  lab.report(write);
  Report read = compare("delete-p99-read", reading);
  lab.report(read);
  if (written == 0) throw Unmeasurable("nothing was written: not a file system on a device");
  Report bytes = make_report("delete-bytes", {static_cast<double>(reading.freed_bytes) / written}, 1.0, 1.0);
  bytes.unit = "written/freed";
  bytes.value = written / static_cast<double>(reading.freed_bytes);
  bytes.columns["freed_bytes"] = static_cast<double>(reading.freed_bytes);
  bytes.columns["device_bytes"] = written;
  lab.report(bytes);
  Report space =
      make_report("delete-space", {static_cast<double>(freed) / static_cast<double>(foretold)}, 1.0, 1.0);
  space.unit = "bytes";
  space.value = static_cast<double>(freed);
  lab.report(space);
}

}  // namespace coppice::bench
