// What the kernel counts of this process, and order statistics.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "overhead/slice.h"

namespace coppice::bench {

// One line of /proc/self/io ("write_bytes": what was sent to the block layer, O_DIRECT and dirtied pages).
std::uint64_t process_io(const std::string& counter);
// User and system time of all threads.
double process_cpu_us();

struct Quartiles {
  double q1 = 0;
  double median = 0;
  double q3 = 0;
};
// `part` of the way through the sorted values, between neighbours in proportion. Of nothing: 0.
double quantile(std::vector<double> values, double part);
Quartiles quartiles(const std::vector<double>& values);

// Fills in what a slice cost, between its construction and finish().
class Meter {
 public:
  explicit Meter(Slice& slice);
  void finish();

 private:
  Slice& slice_;
  double cpu_us_;
  std::uint64_t device_bytes_;
  Clock::time_point start_;
};

}  // namespace coppice::bench
