// Leaf against 64 plain entries.
#include "layout/leaf.h"

#include <array>
#include <catch2/catch.hpp>

#include "samples.h"

using namespace coppice;
using namespace coppice::layout_test;

namespace {

struct Entry {
  LeafRun::Kind kind = LeafRun::Kind::kHole;
  std::uint64_t physical = 0;
  std::uint64_t birth = 0;
};
using Plain = std::array<Entry, kLeafBlocks>;

// Few births, and addresses near each other: so that runs often could merge, and often just don't.
void random_step(Leaf& leaf, Plain& plain, Random& random) {
  const auto first = static_cast<unsigned>(below(random, 64));
  const auto longest = random() % 3 == 0 ? 64 - first : std::min<std::uint64_t>(64 - first, 4);
  const auto count = static_cast<unsigned>(1 + below(random, longest));
  const Epoch birth{1 + below(random, 3)};
  const auto kind = below(random, 8);
  if (kind < 5) {
    const PhysicalBlock physical{1000 + first + below(random, 3) * 64};
    leaf.map(first, count, physical, birth);
    for (unsigned i = 0; i < count; ++i)
      plain[first + i] = {LeafRun::Kind::kData, physical.value + i, birth.value};
  } else if (kind < 7) {
    leaf.zero(first, count, birth);
    for (unsigned i = 0; i < count; ++i) plain[first + i] = {LeafRun::Kind::kZero, 0, birth.value};
  } else {
    const std::uint64_t mask = random() & random() & (random() % 4 == 0 ? ~std::uint64_t{0} : random());
    leaf.punch(mask);
    for (unsigned i = 0; i < 64; ++i)
      if (mask >> i & 1) plain[i] = {};
  }
}

// The runs are in order, don't overlap, and none continues the one before.
bool well_formed(const Leaf& leaf) {
  const LeafRun* previous = nullptr;
  for (const LeafRun& run : leaf.runs()) {
    if (run.count == 0 || run.end() > kLeafBlocks || run.kind == LeafRun::Kind::kHole) return false;
    if (previous != nullptr && (previous->end() > run.first || continues(*previous, run))) return false;
    previous = &run;
  }
  return true;
}

// run_at() gives what the plain entries hold, and as much of it as there is.
bool same_content(const Leaf& leaf, const Plain& plain) {
  using Kind = LeafRun::Kind;
  for (unsigned i = 0; i < kLeafBlocks; ++i) {
    const LeafRun run = leaf.run_at(i);
    if (run.first != i || run.kind != plain[i].kind || run.physical.value != plain[i].physical ||
        run.birth.value != plain[i].birth)
      return false;
    for (unsigned j = i + 1; j < run.end(); ++j)
      if (plain[j].kind != run.kind) return false;
    if (run.kind == Kind::kHole && run.end() < kLeafBlocks && plain[run.end()].kind == Kind::kHole)
      return false;
  }
  return true;
}

}  // namespace

TEST_CASE("a leaf is what 64 plain entries are, over 200,000 random steps") {
  Random random(7);
  Leaf leaf;
  Plain plain;
  std::size_t most_runs = 0;
  std::size_t times_empty = 0;
  for (int step = 0; step < 200'000; ++step) {
    random_step(leaf, plain, random);
    REQUIRE(well_formed(leaf));
    REQUIRE(same_content(leaf, plain));
    most_runs = std::max(most_runs, leaf.runs().size());
    if (step % 3 == 0) {
      const auto back = Leaf::decode(encoded(leaf));
      REQUIRE(back);
      REQUIRE(*back == leaf);
    }
    if (step % 97 == 0) {
      leaf.punch(~std::uint64_t{0});
      plain = {};
      times_empty += leaf.empty();
    }
  }
  CHECK(most_runs > 30);
  CHECK(times_empty > 2000);
}

TEST_CASE("writes one after the other become one run") {
  Leaf leaf;
  for (unsigned i = 0; i < 64; ++i) leaf.map(i, 1, PhysicalBlock{500 + i}, Epoch{3});
  REQUIRE(leaf.runs().size() == 1);
  CHECK(leaf.runs()[0] == LeafRun{0, 64, LeafRun::Kind::kData, PhysicalBlock{500}, Epoch{3}});
  CHECK(leaf.run_at(40) == LeafRun{40, 24, LeafRun::Kind::kData, PhysicalBlock{540}, Epoch{3}});
}

TEST_CASE("a later epoch in the middle splits a run, and so does a gap in the pool") {
  Leaf leaf;
  leaf.map(0, 64, PhysicalBlock{500}, Epoch{3});
  leaf.map(10, 1, PhysicalBlock{510}, Epoch{4});
  REQUIRE(leaf.runs().size() == 3);
  CHECK(leaf.runs()[2] == LeafRun{11, 53, LeafRun::Kind::kData, PhysicalBlock{511}, Epoch{3}});
  leaf.map(10, 1, PhysicalBlock{510}, Epoch{3});
  CHECK(leaf.runs().size() == 1);
  leaf.map(10, 1, PhysicalBlock{9}, Epoch{3});
  CHECK(leaf.runs().size() == 3);
}

TEST_CASE("zeroes merge by birth, whatever their neighbours") {
  Leaf leaf;
  leaf.zero(0, 10, Epoch{1});
  leaf.zero(20, 10, Epoch{1});
  CHECK(leaf.runs().size() == 2);
  leaf.zero(10, 10, Epoch{1});
  CHECK(leaf.runs().size() == 1);
  leaf.zero(30, 1, Epoch{2});
  CHECK(leaf.runs().size() == 2);
}
