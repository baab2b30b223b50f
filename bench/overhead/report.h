// A line of the result.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "overhead/counters.h"

namespace coppice::bench {

struct Report {
  std::string figure;
  Quartiles ratio;  // more is better
  std::size_t pairs = 0;
  double floor = 1;
  double goal = 1;
  std::string unit;
  double value = 0;
  std::map<std::string, double> columns;  // further numbers, explained in README.md
};

// From the ratio of each pair or repetition.
Report make_report(std::string figure, const std::vector<double>& ratios, double floor, double goal);

class Reporter {
 public:
  Reporter(bool json, bool quick) : json_(json), quick_(quick) {}
  // At once, so that an interrupted run has told what it knew.
  void print(const Report& report);

 private:
  bool json_;
  bool quick_;
  bool headed_ = false;
};

}  // namespace coppice::bench
