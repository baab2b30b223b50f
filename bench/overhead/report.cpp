#include "overhead/report.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace coppice::bench {

namespace {

// Four significant digits: the rest is noise.
double rounded(double value) {
  if (value == 0 || !std::isfinite(value)) return 0;
  const double unit = std::pow(10.0, 3 - std::floor(std::log10(std::fabs(value))));
  return std::round(value * unit) / unit;
}

std::string json_line(const Report& report, bool quick) {
  nlohmann::ordered_json line;
  line["figure"] = report.figure;
  line["ratio"] = rounded(report.ratio.median);
  line["q1"] = rounded(report.ratio.q1);
  line["q3"] = rounded(report.ratio.q3);
  line["pairs"] = report.pairs;
  line["floor"] = report.floor;
  line["goal"] = report.goal;
  line["unit"] = report.unit;
  line["value"] = rounded(report.value);
  for (const auto& [name, value] : report.columns) line[name] = rounded(value);
  if (quick) line["quick"] = true;
  return line.dump();
}

}  // namespace

Report make_report(std::string figure, const std::vector<double>& ratios, double floor, double goal) {
  if (ratios.empty()) throw Unmeasurable("there was nothing to measure");
  return {.figure = std::move(figure),
          .ratio = quartiles(ratios),
          .pairs = ratios.size(),
          .floor = floor,
          .goal = goal,
          .unit = {},
          .value = 0,
          .columns = {}};
}

void Reporter::print(const Report& report) {
  if (json_) {
    fmt::print("{}\n", json_line(report, quick_));
  } else {
    if (!headed_) {
      fmt::print("{:<24} {:>7} {:>7} {:>7} {:>5} {:>6} {:>6}  {}\n", "figure", "ratio", "q1", "q3", "pairs",
                 "floor", "goal", "value");
    }
    headed_ = true;
    fmt::print("{:<24} {:>7.3f} {:>7.3f} {:>7.3f} {:>5} {:>6.2f} {:>6.2f}  {:.4g} {}{}\n", report.figure,
               report.ratio.median, report.ratio.q1, report.ratio.q3, report.pairs, report.floor, report.goal,
               report.value, report.unit, report.ratio.median < report.floor ? "  BELOW THE FLOOR" : "");
    for (const auto& [name, value] : report.columns) fmt::print("{:>28} {:.4g}\n", name, value);
  }
  std::fflush(stdout);
}

}  // namespace coppice::bench
