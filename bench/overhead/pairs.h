// Two sides in turn.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "overhead/lab.h"

namespace coppice::bench {

inline constexpr std::uint64_t kVerifiedBlocks = 2048;  // read back after a measurement

using Side = std::function<Slice(Clock::duration)>;

struct Pair {
  Slice engine;
  Slice other;
};

// What a figure of speed promises, and how its rate is told.
struct Promise {
  std::string figure;
  double floor = 1;
  double goal = 1;
  std::string unit = "IOPS";
  double unit_per_operation = 1;
};

// Alternating slices; which side is first alternates too (ABBA), so that a drift of the machine cancels out.
std::vector<Pair> run_pairs(unsigned count, Clock::duration slice, const Side& engine, const Side& other);

// The pairs of a figure, its line; then the long run and its line. What `verify` throws stops a line.
void measure_speed(Lab& lab, const Promise& promise, const Side& engine, const Side& other,
                   const std::function<void()>& verify);
// An engine's slice and a raw one of the same job, on walks of their own.
void measure_against_raw(Lab& lab, const Promise& promise, Disk& disk, const Job& job);

[[nodiscard]] Report speed_report(const Promise& promise, const std::vector<Pair>& pairs);

}  // namespace coppice::bench
