#include "overhead/lab.h"

#include <cstdlib>
#include <filesystem>

namespace coppice::bench {

namespace fs = std::filesystem;

Lab::Lab(const Options& options, Reporter& reporter) : options_(options), reporter_(reporter) {
  fs::create_directories(options_.directory);
  directory_ = options_.directory + "/overhead.XXXXXX";
  if (mkdtemp(directory_.data()) == nullptr)
    throw Unmeasurable("no directory can be made in " + options_.directory);
}

Lab::~Lab() {
  main_.reset();
  deep_.reset();
  flat_.reset();
  engine_.reset();
  raw_.reset();
  std::error_code ignored;
  fs::remove_all(directory_, ignored);
}

bool Lab::wanted(const std::string& figure) const {
  if (options_.only.empty()) return true;
  for (const std::string& name : options_.only) {
    if (figure == name || figure == name + "-long") return true;
  }
  return false;
}

bool Lab::time_is_up() const {
  return Clock::now() - start_ > options_.time_limit;
}

void Lab::lay_out() {
  if (main_) return;
  const std::uint64_t size = options_.size_bytes;
  auto main = std::make_unique<Disk>(engine().empty_disk("main", size));
  Disk free = engine().empty_disk("free", 3 * size);
  Disk raw = engine().empty_disk("raw", size);
  engine().fill_among_each_other({main.get(), &free, &raw});
  engine().remove_disk(free);
  raw.device.reset();
  const auto pools = engine().must(engine().store().pools());
  raw_ = std::make_unique<RawSide>(pools.front().path, std::move(raw.ledger));
  main_ = std::move(main);
}

RawSide& Lab::raw() {
  lay_out();
  return *raw_;
}

EngineSide& Lab::engine() {
  if (!engine_) engine_ = std::make_unique<EngineSide>(path("store"));
  if (!engine_->usable()) throw Unmeasurable("the store could not be opened again");
  return *engine_;
}

Disk& Lab::main_disk() {
  lay_out();
  if (!main_->device) engine().attach(*main_);
  return *main_;
}

DepthPair Lab::depth_pair(unsigned snapshots) {
  if (flat_ && deep_snapshots_ >= snapshots) {
    attach_all();
    return {*deep_, *flat_};
  }
  lay_out();
  if (!deep_) deep_ = std::make_unique<Disk>(engine().make_disk("deep", small_bytes()));
  Walk walk(deep_->ledger.span_bytes(), kBlockBytes, false, seed());
  const Job churn{.kind = Kind::kWrite, .depth = 1};
  for (; deep_snapshots_ < snapshots; ++deep_snapshots_) {
    engine().run(*deep_, churn, walk, Clock::duration::zero());
    engine().snapshot("deep", "s" + std::to_string(deep_snapshots_));
  }
  if (flat_) engine().remove_disk(*std::exchange(flat_, nullptr));
  auto flat = std::make_unique<Disk>(engine().empty_disk("flat", small_bytes()));
  engine().fill_among_each_other({deep_.get(), flat.get()});
  flat_ = std::move(flat);
  return {*deep_, *flat_};
}

void Lab::detach_all_but(const Disk& disk) {
  for (Disk* other : {main_.get(), deep_.get(), flat_.get()}) {
    if (other != nullptr && other != &disk) other->device.reset();
  }
}

void Lab::attach_all() {
  for (Disk* other : {main_.get(), deep_.get(), flat_.get()}) {
    if (other != nullptr && !other->device) engine().attach(*other);
  }
}

void Lab::report(const Report& report) {
  if (wanted(report.figure)) reporter_.print(report);
}

}  // namespace coppice::bench
