// Lab: the store, the disks and the raw side's blocks that the figures share, each made when first asked for.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "overhead/engine_side.h"
#include "overhead/options.h"
#include "overhead/raw_side.h"
#include "overhead/report.h"

namespace coppice::bench {

// A disk with so many snapshots or more, each with a write before it, and one without any. All of both was
// written since the last snapshot, a little of each in turn.
struct DepthPair {
  Disk& deep;
  Disk& flat;
};

class Lab {
 public:
  Lab(const Options& options, Reporter& reporter);
  ~Lab();
  Lab(const Lab&) = delete;
  Lab& operator=(const Lab&) = delete;

  [[nodiscard]] const Options& options() const { return options_; }
  [[nodiscard]] bool wanted(const std::string& figure) const;
  [[nodiscard]] bool time_is_up() const;
  [[nodiscard]] std::string path(const std::string& name) const { return directory_ + "/" + name; }
  // A quarter of the main disk: where figures keep several disks or snapshots.
  [[nodiscard]] std::uint64_t small_bytes() const { return options_.size_bytes / 4 >> 20 << 20; }
  // The main disk, the raw side's blocks and, three times as large, free space that was written before: what
  // the first writes of all figures together take. A write into space that a file system only set aside costs
  // a change of its extents, which the next flush pays for. All among each other in the pool's file, so that
  // every side finds the same device.
  void lay_out();

  RawSide& raw();
  EngineSide& engine();
  Disk& main_disk();
  DepthPair depth_pair(unsigned snapshots);
  // No device may be open while the store is closed.
  void detach_all_but(const Disk& disk);
  void attach_all();
  // Prints, if the figure (up to a suffix) was asked for.
  void report(const Report& report);
  [[nodiscard]] std::uint64_t seed() { return ++seed_; }

 private:
  Options options_;
  Reporter& reporter_;
  Clock::time_point start_ = Clock::now();
  std::string directory_;
  std::unique_ptr<RawSide> raw_;
  std::unique_ptr<EngineSide> engine_;
  std::unique_ptr<Disk> main_;
  std::unique_ptr<Disk> deep_;
  std::unique_ptr<Disk> flat_;
  unsigned deep_snapshots_ = 0;
  std::uint64_t seed_ = 0;
};

}  // namespace coppice::bench
