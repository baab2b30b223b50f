// Host: what the model's store runs on. Files and io_uring, as with users; or the simulator's machine, whose
// processes can be killed and whose power can be cut at any step.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>

#include "coppice/reactor.h"
#include "coppice/store.h"

namespace coppice::test {

struct Mismatch : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The process that was running is gone. What it had under way is left behind, as a killed one leaves its
// memory: nothing of it may be touched or destroyed.
struct Crashed {};

class Host {
 public:
  virtual ~Host() = default;
  virtual Scheduler& scheduler() = 0;
  // Until it is done. Throws Crashed.
  virtual void run(Task<void> task) = 0;
  // The store, as users open it. Throws Crashed.
  virtual Outcome<> open() = 0;
  virtual Outcome<> close() = 0;
  [[nodiscard]] virtual Store& store() = 0;
  // The image that disks stand on; answers its path.
  virtual std::string write_base(std::span<const std::byte> bytes) = 0;
  // It is another image, and what it was again. The store is not open.
  virtual void spoil_base() = 0;
  virtual void mend_base() = 0;
  [[nodiscard]] virtual std::uint64_t largest_disk() const = 0;
  // What the pool may grow to; 0: as far as its file system goes.
  [[nodiscard]] virtual std::uint64_t pool_bytes() const { return 0; }

  // Whether it can die.
  [[nodiscard]] virtual bool dies() const { return false; }
  // It dies this many steps of the scheduler from now. 0: no more.
  virtual void arm(std::uint64_t steps) { (void)steps; }
  // It dies now.
  virtual void die() {}
  // The last death lost what was not flushed.
  [[nodiscard]] virtual bool lost_power() const { return false; }

  [[nodiscard]] std::uint64_t lives() const { return lives_; }

  std::int64_t wall_ms = 1'700'000'000'000;  // the clock that people read

 protected:
  std::uint64_t lives_ = 0;
};

// In a directory, which is made and goes with it.
std::unique_ptr<Host> make_file_host(Reactor& reactor, std::string directory);
std::unique_ptr<Host> make_machine_host(std::uint64_t seed);

// A device goes with the life that it belongs to.
struct EndDevice {
  const Host* host = nullptr;
  std::uint64_t life = 0;
  void operator()(BlockDevice* device) const {
    if (host->lives() == life) delete device;
  }
};
using Device = std::unique_ptr<BlockDevice, EndDevice>;

}  // namespace coppice::test
