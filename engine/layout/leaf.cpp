#include "layout/leaf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>

namespace coppice {

namespace {

// `run` without its first `blocks`.
LeafRun cut_front(LeafRun run, unsigned blocks) {
  run.first = static_cast<std::uint8_t>(run.first + blocks);
  run.count = static_cast<std::uint8_t>(run.count - blocks);
  if (run.kind == LeafRun::Kind::kData) run.physical = run.physical.next(blocks);
  return run;
}

LeafRun make_run(unsigned first, unsigned count, LeafRun::Kind kind, PhysicalBlock physical, Epoch birth) {
  assert(count > 0 && first + count <= kLeafBlocks);
  return {static_cast<std::uint8_t>(first), static_cast<std::uint8_t>(count), kind, physical, birth};
}

// A few runs in order, merged as they come. What a replacement can touch: a neighbour, what is left of the
// first run, the new one, what is left of the last, the other neighbour.
class Pieces {
 public:
  void push(const LeafRun& run) {
    if (count_ > 0 && continues(runs_[count_ - 1], run))
      runs_[count_ - 1].count = static_cast<std::uint8_t>(runs_[count_ - 1].count + run.count);
    else
      runs_[count_++] = run;
  }
  [[nodiscard]] std::span<const LeafRun> all() const { return std::span(runs_).first(count_); }

 private:
  std::array<LeafRun, 5> runs_;
  std::size_t count_ = 0;
};

// The first run that ends behind `index`.
std::size_t run_reaching(std::span<const LeafRun> runs, unsigned index) {
  const auto found =
      std::ranges::partition_point(runs, [&](const LeafRun& run) { return run.end() <= index; });
  return static_cast<std::size_t>(found - runs.begin());
}

}  // namespace

bool continues(const LeafRun& run, const LeafRun& next) {
  return run.kind == next.kind && run.birth == next.birth && run.end() == next.first &&
         (run.kind != LeafRun::Kind::kData || run.physical.next(run.count) == next.physical);
}

LeafRun Leaf::run_at(unsigned index) const {
  assert(index < kLeafBlocks);
  const std::size_t at = run_reaching(runs_.all(), index);
  if (at < runs_.size() && runs_[at].first <= index) return cut_front(runs_[at], index - runs_[at].first);
  const unsigned end = at < runs_.size() ? runs_[at].first : static_cast<unsigned>(kLeafBlocks);
  return make_run(index, end - index, LeafRun::Kind::kHole, {}, {});
}

void Leaf::map(unsigned first, unsigned count, PhysicalBlock physical, Epoch birth) {
  assert(physical.value != 0);
  const LeafRun run = make_run(first, count, LeafRun::Kind::kData, physical, birth);
  replace(first, count, &run);
}

void Leaf::zero(unsigned first, unsigned count, Epoch birth) {
  const LeafRun run = make_run(first, count, LeafRun::Kind::kZero, {}, birth);
  replace(first, count, &run);
}

void Leaf::punch(std::uint64_t mask) {
  while (mask != 0 && !runs_.empty()) {
    const auto first = static_cast<unsigned>(std::countr_zero(mask));
    const auto count = static_cast<unsigned>(std::countr_one(mask >> first));
    replace(first, count, nullptr);
    if (first + count == kLeafBlocks) return;
    mask &= ~std::uint64_t{0} << (first + count);
  }
}

void Leaf::replace(unsigned first, unsigned count, const LeafRun* with) {
  const unsigned end = first + count;
  std::size_t low = run_reaching(runs_.all(), first);
  std::size_t high = low;
  while (high < runs_.size() && runs_[high].first < end) ++high;

  Pieces pieces;
  const bool cut_low = high > low && runs_[low].first < first;
  const bool cut_high = high > low && runs_[high - 1].end() > end;
  const std::size_t old_low = low;
  const std::size_t old_high = high;
  if (!cut_low && low > 0) pieces.push(runs_[--low]);
  if (cut_low) {
    LeafRun left = runs_[old_low];
    left.count = static_cast<std::uint8_t>(first - left.first);
    pieces.push(left);
  }
  if (with != nullptr) pieces.push(*with);
  if (cut_high) pieces.push(cut_front(runs_[old_high - 1], end - runs_[old_high - 1].first));
  if (!cut_high && high < runs_.size()) pieces.push(runs_[high++]);
  runs_.splice(low, high, pieces.all());
}

}  // namespace coppice
