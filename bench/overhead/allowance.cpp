// What an engine may spend: raw with so much work of the processor more for each request, beside raw. Between
// a completion and the next start, as an engine's is. No promise: it tells what a floor leaves on this
// machine.
#include <fmt/format.h>

#include <array>

#include "overhead/figures.h"
#include "overhead/pairs.h"

namespace coppice::bench {

namespace {

using std::chrono::nanoseconds;

// The first one is what the others are beside; the second one says what noise makes of it.
constexpr std::array kWork{nanoseconds(0),    nanoseconds(0),    nanoseconds(500), nanoseconds(1000),
                           nanoseconds(1500), nanoseconds(2000), nanoseconds(3000)};

void measure(Lab& lab, const std::string& figure, Job job) {
  RawSide& raw = lab.raw();
  Walk walk(raw.ledger().span_bytes(), job.block_bytes, false, lab.seed());
  const auto slice = [&](nanoseconds work) {
    job.work = work;
    return raw.run(job, walk, lab.options().slice);
  };
  slice(kWork.front());  // warm up
  std::array<std::vector<double>, kWork.size()> rates;
  for (unsigned i = 0; i < lab.options().pairs; ++i) {
    for (std::size_t j = 0; j < kWork.size(); ++j) {
      const std::size_t k = i % 2 == 0 ? j : kWork.size() - 1 - j;
      rates[k].push_back(slice(kWork[k]).rate());
    }
  }
  raw.verify(kVerifiedBlocks);
  const auto ratios = [&](std::size_t k) {
    std::vector<double> all;
    for (std::size_t i = 0; i < rates[k].size(); ++i) all.push_back(rates[k][i] / rates.front()[i]);
    return all;
  };
  Report report = make_report(figure, ratios(1), 0, 0);
  report.unit = "IOPS";
  report.value = quantile(rates.front(), 0.5);
  for (std::size_t k = 2; k < kWork.size(); ++k)
    report.columns[fmt::format("with_{:04}ns", kWork[k].count())] = quantile(ratios(k), 0.5);
  lab.report(report);
}

}  // namespace

void allowance_write(Lab& lab) {
  measure(lab, "allowance-write-qd32", {.kind = Kind::kWrite, .depth = 32});
}
void allowance_read(Lab& lab) {
  measure(lab, "allowance-read-qd32", {.kind = Kind::kRead, .depth = 32});
}

}  // namespace coppice::bench
