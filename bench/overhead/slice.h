// What a slice of a measurement does, and what came of it. The same for the raw file and for the engine.
#pragma once

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "coppice/store.h"
#include "coppice/types.h"

namespace coppice::bench {

using Clock = std::chrono::steady_clock;

// A figure that can't be measured, and why: ends the figure, not the program.
class Unmeasurable : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum class Kind : std::uint8_t {
  kRead,
  kWrite,
  kMixed,      // a read, a write, a read …
  kWriteSync,  // each write is followed by a flush, and is done when that is
};

struct Job {
  Kind kind = Kind::kWrite;
  std::uint64_t block_bytes = kBlockBytes;
  unsigned depth = 32;
  bool sequential = false;
  // Beside the load, at this interval: a snapshot of the disk; on the raw side a write with fdatasync.
  std::chrono::milliseconds probe_every{0};
  std::vector<Spec> doomed = {};  // removed in one verb as the slice begins
  bool record_latency = false;
  std::chrono::nanoseconds work{0};  // of the processor, for each request of the raw side

  [[nodiscard]] bool writes() const { return kind != Kind::kRead; }
};

struct Slice {
  std::uint64_t operations = 0;
  std::uint64_t written_bytes = 0;  // by the guest
  double seconds = 0;
  double cpu_us = 0;               // of the whole process
  std::uint64_t device_bytes = 0;  // written by the whole process
  std::vector<double> latency_us;
  std::vector<double> probe_us;

  [[nodiscard]] double rate() const { return seconds > 0 ? static_cast<double>(operations) / seconds : 0; }
};

}  // namespace coppice::bench
