#include "overhead/counters.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <fstream>

namespace coppice::bench {

std::uint64_t process_io(const std::string& counter) {
  std::ifstream file("/proc/self/io");
  std::string name;
  std::uint64_t value = 0;
  while (file >> name >> value) {
    if (name == counter + ":") return value;
  }
  return 0;
}

double process_cpu_us() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto microseconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
  };
  return microseconds(usage.ru_utime) + microseconds(usage.ru_stime);
}

double quantile(std::vector<double> values, double part) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  const double place = part * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(std::floor(place));
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (values[above] - values[below]) * (place - std::floor(place));
}

Quartiles quartiles(const std::vector<double>& values) {
  return {quantile(values, 0.25), quantile(values, 0.5), quantile(values, 0.75)};
}

Meter::Meter(Slice& slice)
    : slice_(slice),
      cpu_us_(process_cpu_us()),
      device_bytes_(process_io("write_bytes")),
      start_(Clock::now()) {}

void Meter::finish() {
  slice_.seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  slice_.cpu_us = process_cpu_us() - cpu_us_;
  slice_.device_bytes = process_io("write_bytes") - device_bytes_;
}

}  // namespace coppice::bench
