// A disk with many snapshots beside one of the same size without any, in the same store: reads and writes in
// turn, every block written since the last snapshot.
#include "overhead/figures.h"
#include "overhead/pairs.h"

namespace coppice::bench {

namespace {

void measure_depth(Lab& lab, unsigned snapshots) {
  const auto [deep, flat] = lab.depth_pair(snapshots);
  const Job job{.kind = Kind::kMixed, .depth = 32};
  Walk deep_walk(deep.ledger.span_bytes(), kBlockBytes, false, lab.seed());
  Walk flat_walk(flat.ledger.span_bytes(), kBlockBytes, false, lab.seed());
  EngineSide& engine = lab.engine();
  measure_speed(
      lab, {.figure = "depth-" + std::to_string(snapshots), .floor = 0.98, .goal = 1.0},
      [&](Clock::duration length) { return engine.run(deep, job, deep_walk, length); },
      [&](Clock::duration length) { return engine.run(flat, job, flat_walk, length); },
      [&] {
        engine.verify(deep, kVerifiedBlocks);
        engine.verify(flat, kVerifiedBlocks);
      });
}

}  // namespace

void depth_1(Lab& lab) {
  measure_depth(lab, 1);
}
void depth_100(Lab& lab) {
  measure_depth(lab, 100);
}
void depth_10000(Lab& lab) {
  measure_depth(lab, 10000);
}

}  // namespace coppice::bench
