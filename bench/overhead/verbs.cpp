// How long rollback, clone and rm take to be acknowledged, durable, on a disk with snapshots that was just
// written to; and that they copy nothing.
#include "overhead/figures.h"
#include "overhead/pairs.h"

namespace coppice::bench {

namespace {

constexpr Clock::duration kWriting = std::chrono::milliseconds(50);
constexpr double kLimitMs = 5.0;
constexpr double kRemoveLimitMs = 1.0;

// A disk, and a snapshot "s0", "s1" … for each repetition, with writes between them.
class Scene {
 public:
  explicit Scene(Lab& lab)
      : lab_(lab),
        disk_(lab.engine().make_disk("verbs", lab.small_bytes())),
        walk_(disk_.ledger.span_bytes(), kBlockBytes, false, lab.seed()) {
    for (unsigned i = 0; i < lab.options().pairs; ++i) {
      write();
      lab.engine().snapshot(disk_.name, name(i));
    }
  }
  ~Scene() {
    try {
      lab_.engine().remove_disk(disk_);
    } catch (const Unmeasurable&) {
      disk_.device.reset();  // The figure has failed already; the store is thrown away at the end.
    }
  }
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;

  static std::string name(unsigned number) { return "s" + std::to_string(number); }
  Disk& disk() { return disk_; }
  void write() { lab_.engine().run(disk_, {.kind = Kind::kWrite, .depth = 32}, walk_, kWriting); }

 private:
  Lab& lab_;
  Disk disk_;
  Walk walk_;
};

// A raw write with fdatasync at the same moment: what being durable costs on this device.
double raw_sync(Lab& lab, Walk& walk) {
  return lab.raw().run({.kind = Kind::kWriteSync, .depth = 1}, walk, Clock::duration::zero()).seconds;
}

// Times `verb(i)` after a moment of writing, once for each pair.
void measure_verb(Lab& lab, Scene& scene, const std::string& figure, double limit_ms,
                  const std::function<void(unsigned)>& verb) {
  std::vector<double> ratios;
  std::vector<double> times_ms;
  std::vector<double> device_bytes;
  std::vector<double> raw_sync_ms;
  Walk raw_walk(lab.options().size_bytes, kBlockBytes, false, lab.seed());
  for (unsigned i = 0; i < lab.options().pairs; ++i) {
    scene.write();
    // As a client that detaches does: the verb is not to pay for the flush of what it wrote.
    lab.engine().flush(scene.disk());
    scene.disk().device.reset();
    Slice slice;
    Meter meter(slice);
    verb(i);
    meter.finish();
    lab.engine().attach(scene.disk());
    times_ms.push_back(slice.seconds * 1e3);
    ratios.push_back(limit_ms / times_ms.back());
    raw_sync_ms.push_back(raw_sync(lab, raw_walk) * 1e3);
    device_bytes.push_back(static_cast<double>(slice.device_bytes));
  }
  Report report = make_report(figure, ratios, 1.0, 1.0);
  report.unit = "ms";
  report.value = quantile(times_ms, 0.5);
  report.columns["raw_sync_ms"] = quantile(raw_sync_ms, 0.5);
  report.columns["worst_ms"] = quantile(times_ms, 1.0);
  report.columns["device_bytes_per_verb"] = quantile(device_bytes, 0.5);
  lab.report(report);
}

// The clone holds what the snapshot held: there is no difference.
void demand_equal(EngineSide& engine, const Spec& left, const Spec& right) {
  if (!engine.must(engine.store().diff(left, right, 0)).empty())
    throw Unmeasurable(left.text() + " and " + right.text() + " differ");
}

}  // namespace

void rollback(Lab& lab) {
  Scene scene(lab);
  EngineSide& engine = lab.engine();
  measure_verb(lab, scene, "rollback", kLimitMs, [&](unsigned i) {
    const Spec to{"verbs", Scene::name(i)};
    engine.must(engine.store().rollback({to}, {}));
  });
  const Spec last{"verbs", Scene::name(0)};
  scene.disk().device.reset();
  engine.must(engine.store().rollback({last}, {}));
  demand_equal(engine, last, {"verbs", ""});
}

void clone(Lab& lab) {
  EngineSide& engine = lab.engine();
  Scene scene(lab);
  measure_verb(lab, scene, "clone", kLimitMs, [&](unsigned i) {
    engine.must(engine.store().clone({"verbs", Scene::name(i)}, "clone" + std::to_string(i)));
  });
  for (unsigned i = 0; i < lab.options().pairs; ++i) {
    const std::string name = "clone" + std::to_string(i);
    demand_equal(engine, {"verbs", Scene::name(i)}, {name, ""});
    engine.must(engine.store().remove({{name, ""}}, true));
  }
}

void remove_snapshot(Lab& lab) {
  Scene scene(lab);
  EngineSide& engine = lab.engine();
  measure_verb(lab, scene, "rm", kRemoveLimitMs,
               [&](unsigned i) { engine.must(engine.store().remove({{"verbs", Scene::name(i)}}, false)); });
  engine.must(engine.store().wait_for_reclaim());
  engine.verify(scene.disk(), kVerifiedBlocks);
}

}  // namespace coppice::bench
