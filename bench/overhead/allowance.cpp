// What an engine may spend: raw with so much work of the processor more for each request, beside raw. Between
// a completion and the next start, as an engine's is. No promise: it tells what a floor leaves on this
// machine.
#include <fmt/format.h>

#include <array>

#include "overhead/figures.h"
#include "overhead/pairs.h"

namespace coppice::bench {

namespace {

constexpr std::array kWork{std::chrono::nanoseconds(0),    std::chrono::nanoseconds(500),
                           std::chrono::nanoseconds(1000), std::chrono::nanoseconds(1500),
                           std::chrono::nanoseconds(2000), std::chrono::nanoseconds(3000)};

void measure(Lab& lab, const std::string& figure, Job job) {
  RawSide& raw = lab.raw();
  Walk walk(lab.raw().ledger().span_bytes(), job.block_bytes, false, lab.seed());
  std::array<std::vector<Pair>, kWork.size()> pairs;
  const auto slice = [&](std::chrono::nanoseconds work) {
    job.work = work;
    return raw.run(job, walk, lab.options().slice);
  };
  slice(kWork.front());  // warm up
  for (unsigned i = 0; i < lab.options().pairs; ++i) {
    // Each follows each other one as often.
    const Slice plain = slice(kWork.front());
    for (std::size_t j = 0; j < kWork.size(); ++j) {
      const std::size_t k = (i + j) % kWork.size();
      pairs[k].push_back({slice(kWork[k]), plain});
    }
  }
  raw.verify(kVerifiedBlocks);
  for (std::size_t k = 0; k < kWork.size(); ++k) {
    Report report = speed_report({.figure = figure, .floor = 0, .goal = 0}, pairs[k]);
    report.columns["work_us"] = static_cast<double>(kWork[k].count()) / 1e3;
    lab.report(report);
  }
}

}  // namespace

void allowance_write(Lab& lab) {
  measure(lab, "allowance-write-qd32", {.kind = Kind::kWrite, .depth = 32});
}
void allowance_read(Lab& lab) {
  measure(lab, "allowance-read-qd32", {.kind = Kind::kRead, .depth = 32});
}

}  // namespace coppice::bench
