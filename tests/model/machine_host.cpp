#include "host.h"
#include "machine.h"

namespace coppice::test {

namespace {

// A turn without an end: the engine waits for something that never comes.
constexpr std::uint64_t kHangSteps = 20'000'000;

constexpr std::uint64_t kPoolBytes = std::uint64_t{256} << 20;

// As any seed may have it, with room for all that the model writes.
sim::Shape shape_of(sim::Rng& rng) {
  sim::Shape shape = sim::random_shape(rng);
  shape.slab_blocks = rng.once_in(2) ? 8192 : 2048;
  shape.max_slabs = kPoolBytes / (shape.slab_blocks * kBlockBytes);
  return shape;
}

class MachineHost final : public Host {
 public:
  explicit MachineHost(std::uint64_t seed)
      : rng_(seed), machine_(std::make_unique<sim::Machine>(rng_, shape_of(rng_))) {}
  // What died refers to the machine: it stays.
  ~MachineHost() override {
    if (lives_ != 0) (void)machine_.release();
  }

  Scheduler& scheduler() override { return process_->scheduler; }
  void run(Task<void> task) override {
    auto done = std::make_shared<bool>(false);
    spawn(finish(std::move(task), done));
    for (std::uint64_t steps = 0; !*done; ++steps) {
      if (left_ != 0 && --left_ == 0) {
        die();
        throw Crashed();
      }
      if (!process_->scheduler.step() || steps == kHangSteps)
        throw Mismatch("something waits, and will never go on");
    }
  }
  Outcome<> open() override {
    process_ = new sim::Process(*machine_);
    machine_->wall_ms = wall_ms;
    Outcome<> opened;
    run(open(*process_, opened));
    if (opened) process_->store->start();
    return opened;
  }
  Outcome<> close() override {
    Outcome<> closed;
    run(close(*process_, closed));
    delete std::exchange(process_, nullptr);
    return closed;
  }
  [[nodiscard]] Store& store() override {
    machine_->wall_ms = wall_ms;
    return *process_->store;
  }
  std::string write_base(std::span<const std::byte> bytes) override {
    machine_->base.assign(bytes.begin(), bytes.end());
    return "/sim/base";
  }
  void spoil_base() override { machine_->base.front() ^= std::byte{1}; }
  void mend_base() override { spoil_base(); }
  [[nodiscard]] std::uint64_t pool_bytes() const override { return kPoolBytes; }
  [[nodiscard]] std::uint64_t largest_disk() const override { return std::uint64_t{1} << 20; }

  [[nodiscard]] bool dies() const override { return true; }
  void arm(std::uint64_t steps) override { left_ = steps; }
  void die() override {
    left_ = 0;
    if (process_->notices.find("still takes space") != std::string::npos) throw Mismatch(process_->notices);
    ++lives_;
    lost_power_ = rng_.once_in(2);
    process_ = nullptr;
    machine_->crash(lost_power_ ? sim::Crash::kPower : sim::Crash::kKill);
  }
  [[nodiscard]] bool lost_power() const override { return lost_power_; }

 private:
  static Task<void> finish(Task<void> task, std::shared_ptr<bool> done) {
    co_await task;
    *done = true;
  }
  static Task<void> open(sim::Process& process, Outcome<>& opened) { opened = co_await process.open(); }
  static Task<void> close(sim::Process& process, Outcome<>& closed) {
    closed = co_await process.store->close();
  }

  sim::Rng rng_;
  std::unique_ptr<sim::Machine> machine_;
  sim::Process* process_ = nullptr;
  std::uint64_t left_ = 0;
  bool lost_power_ = false;
};

}  // namespace

std::unique_ptr<Host> make_machine_host(std::uint64_t seed) {
  return std::make_unique<MachineHost>(seed);
}

}  // namespace coppice::test
