// The allocator against an oracle that looks at every block.
#include "pool/allocator.h"

#include <algorithm>
#include <map>
#include <random>

#include "pool_fixture.h"

namespace coppice {
namespace {

constexpr std::uint64_t kSlabs = 3;

struct Oracle {
  enum class State : std::uint8_t { kFree, kTaken, kOwned, kQuarantine };
  struct Block {
    State state = State::kFree;
    bool unproven = false;
  };
  std::map<std::uint64_t, Block> blocks;  // data blocks of the pool, by address
  std::uint64_t free = 0;

  explicit Oracle(const Pool& pool) {
    for (std::uint64_t slab = 0; slab < pool.superblock().slab_count; ++slab) {
      const SlabLayout layout = pool.slab_layout(0);
      for (std::uint64_t i = layout.first_data_block(); i < layout.slab_blocks; ++i)
        blocks[pool.slab_start(0, slab).next(i).value] = {};
    }
    free = blocks.size();
  }
  [[nodiscard]] bool all(PhysicalRun run, State state) const {
    for (std::uint64_t i = 0; i < run.count; ++i) {
      const auto found = blocks.find(run.first.value + i);
      if (found == blocks.end() || found->second.state != state) return false;
    }
    return true;
  }
  void set(PhysicalRun run, State state) {
    for (std::uint64_t i = 0; i < run.count; ++i) {
      Block& block = blocks.at(run.first.value + i);
      free -= block.state == State::kFree ? 1 : 0;
      free += state == State::kFree ? 1 : 0;
      block.state = state;
      if (state == State::kFree) block.unproven = false;
    }
  }
  [[nodiscard]] std::uint64_t count(State state) const {
    return static_cast<std::uint64_t>(
        std::ranges::count_if(blocks, [&](const auto& entry) { return entry.second.state == state; }));
  }
  [[nodiscard]] std::uint64_t longest_free() const {
    std::uint64_t longest = 0;
    std::uint64_t length = 0;
    std::uint64_t expected = 0;
    for (const auto& [address, block] : blocks) {
      length = block.state == State::kFree ? (address == expected ? length : 0) + 1 : 0;
      expected = address + 1;
      longest = std::max(longest, length);
    }
    return longest;
  }
};

using State = Oracle::State;

// Runs in one state, from which random pieces are taken out.
class Runs {
 public:
  void add(PhysicalRun run) { runs_.push_back(run); }
  [[nodiscard]] bool empty() const { return runs_.empty(); }
  PhysicalRun take(std::mt19937& random) {
    std::swap(runs_[random() % runs_.size()], runs_.back());
    PhysicalRun& run = runs_.back();
    if (run.count > 1 && random() % 2 == 0) {
      const std::uint64_t count = 1 + random() % (run.count - 1);
      const PhysicalRun piece{run.first.next(run.count - count), count};
      run.count -= count;
      return piece;
    }
    const PhysicalRun whole = run;
    runs_.pop_back();
    return whole;
  }
  [[nodiscard]] PhysicalRun any(std::mt19937& random) const { return runs_[random() % runs_.size()]; }

 private:
  std::vector<PhysicalRun> runs_;
};

struct Machine {
  Pool& pool;
  Allocator allocator;
  Oracle oracle;
  std::mt19937 random;
  Runs taken, owned, quarantine;
  std::uint64_t single = 0, pieces = 0, refused = 0;

  Machine(Pool& on, unsigned seed) : pool(on), allocator(on), oracle(on), random(seed) {
    for (std::uint64_t i = 0; i < kSlabs; ++i) allocator.add_slab(0, i);
  }

  void allocate() {
    const std::uint64_t scale = random() % 100;
    const std::uint64_t most = scale < 70 ? 8 : scale < 95 ? 64 : scale < 99 ? 600 : 8192;
    const std::uint64_t count = 1 + random() % most;
    PhysicalBlock goal{random() % 20000};
    if (!owned.empty() && random() % 2 == 0) {
      const PhysicalRun run = owned.any(random);
      goal = run.first.next(run.count);
    }
    const bool check_longest = random() % 64 == 0;
    const std::uint64_t longest = check_longest ? oracle.longest_free() : 0;
    const bool goal_free = oracle.all({goal, count}, State::kFree);
    std::vector<PhysicalRun> into;
    const bool got = allocator.allocate(count, goal, into);
    REQUIRE(got == (count <= oracle.free));
    if (!got) {
      ++refused;
      REQUIRE(into.empty());
      return;
    }
    if (goal_free) REQUIRE(into == std::vector<PhysicalRun>{{goal, count}});
    if (check_longest && longest >= count) REQUIRE(into.size() == 1);
    ++(into.size() == 1 ? single : pieces);
    std::uint64_t sum = 0;
    for (const PhysicalRun& run : into) {
      REQUIRE(oracle.all(run, State::kFree));
      oracle.set(run, State::kTaken);
      taken.add(run);
      sum += run.count;
    }
    REQUIRE(sum == count);
  }

  void move(Runs& from, State state, Runs* to, void (Allocator::*call)(PhysicalRun)) {
    if (from.empty()) return;
    const PhysicalRun run = from.take(random);
    (allocator.*call)(run);
    oracle.set(run, state);
    if (to != nullptr) to->add(run);
  }

  void prove(bool unproven) {
    if (owned.empty()) return;
    const PhysicalRun run = owned.any(random);
    unproven ? allocator.set_unproven(run) : allocator.clear_unproven(run);
    for (std::uint64_t i = 0; i < run.count; ++i) oracle.blocks.at(run.first.value + i).unproven = unproven;
  }

  // `pressure`: how much more is taken than given back, in percent.
  void step(unsigned pressure) {
    const unsigned choice = random() % 100;
    if (choice < pressure) return allocate();
    switch (random() % 8) {
      case 0:
        return move(taken, State::kFree, nullptr, &Allocator::cancel);
      case 1:
      case 2:
      case 3:
        return move(taken, State::kOwned, &owned, &Allocator::own);
      case 4:
      case 5:
        return move(owned, State::kQuarantine, &quarantine, &Allocator::disown);
      case 6:
        return move(quarantine, State::kFree, nullptr, &Allocator::release);
      default:
        return prove(random() % 2 == 0);
    }
  }

  void compare() {
    for (const auto& [address, block] : oracle.blocks) {
      const PhysicalBlock at{address};
      if (allocator.owned(at) != (block.state == State::kOwned)) FAIL("owned differs at " << address);
      if (allocator.unproven(at) != block.unproven) FAIL("unproven differs at " << address);
    }
    REQUIRE(allocator.owned_data_blocks() == oracle.count(State::kOwned));
  }
};

using Fixture = test::PoolFixture;

TEST_CASE_METHOD(Fixture, "200,000 random operations agree with an oracle of every block") {
  make_pool(kSlabs);
  Machine machine(*pool, 42);
  REQUIRE(machine.allocator.data_blocks() == machine.oracle.blocks.size());
  for (unsigned i = 0; i < 200'000; ++i) {
    // Fills up, empties, fills up again.
    machine.step((i / 20'000) % 2 == 0 ? 60 : 15);
    REQUIRE(machine.allocator.free_blocks() == machine.oracle.free);
    if (i % 10'000 == 0) machine.compare();
  }
  machine.compare();
  CHECK(machine.single > 1000);
  CHECK(machine.pieces > 20);
  CHECK(machine.refused > 100);
}

TEST_CASE_METHOD(Fixture, "a run stands behind its predecessor, else behind the cursor") {
  make_pool(2);
  Allocator allocator(*pool);
  must(allocator.load());
  std::vector<PhysicalRun> runs;
  REQUIRE(allocator.allocate(10, {}, runs));
  REQUIRE(allocator.allocate(5, {}, runs));
  CHECK(runs[1].first == runs[0].first.next(10));
  allocator.cancel(runs[0]);
  REQUIRE(allocator.allocate(4, {}, runs));
  CHECK(runs[2].first == runs[1].first.next(5));
  REQUIRE(allocator.allocate(3, runs[0].first, runs));
  CHECK(runs[3] == PhysicalRun{runs[0].first, 3});
}

TEST_CASE_METHOD(Fixture, "a request larger than every hole is put together of pieces") {
  make_pool(1);
  Allocator allocator(*pool);
  must(allocator.load());
  const std::uint64_t all = allocator.free_blocks();
  std::vector<PhysicalRun> whole;
  REQUIRE(allocator.allocate(all, {}, whole));
  REQUIRE(whole.size() == 1);
  // Holes of 100, 7 and 1 blocks.
  allocator.cancel({whole[0].first.next(10), 100});
  allocator.cancel({whole[0].first.next(500), 7});
  allocator.cancel({whole[0].first.next(600), 1});
  std::vector<PhysicalRun> pieces;
  CHECK_FALSE(allocator.allocate(109, {}, pieces));
  CHECK(pieces.empty());
  REQUIRE(allocator.allocate(106, {}, pieces));
  CHECK(pieces == std::vector<PhysicalRun>{{whole[0].first.next(10), 100}, {whole[0].first.next(500), 6}});
  CHECK(allocator.free_blocks() == 2);
}

TEST_CASE_METHOD(Fixture, "metadata blocks and what lies outside all slabs are never taken for data") {
  make_pool(2);
  Allocator allocator(*pool);
  must(allocator.load());
  const std::uint64_t data = pool->slab_layout(0).first_data_block();
  const std::uint64_t size = pool->slab_layout(0).slab_blocks;
  const PhysicalBlock start = pool->slab_start(0, 0);
  CHECK(allocator.data_blocks() == 2 * (size - data));
  CHECK_FALSE(allocator.contains({start.next(data - 1), 1}));
  CHECK(allocator.contains({start.next(data), size - data}));
  CHECK_FALSE(allocator.contains({start.next(data), size - data + 1}));
  CHECK_FALSE(allocator.contains({PhysicalBlock{0}, 1}));
  CHECK_FALSE(allocator.contains({start.next(2 * size), 1}));
  CHECK_FALSE(allocator.contains({PhysicalBlock::of(1, 5000), 1}));
  CHECK_FALSE(allocator.owned(PhysicalBlock::of(1, 5000)));
  CHECK(allocator.owned(start));
}

TEST_CASE_METHOD(Fixture, "in a redo, owning blocks that nobody took makes them busy") {
  make_pool(1);
  Allocator allocator(*pool);
  must(allocator.load());
  const std::uint64_t all = allocator.free_blocks();
  const PhysicalRun redone{pool->slab_start(0, 0).next(pool->slab_layout(0).first_data_block() + 3), 100};
  allocator.own(redone);
  allocator.own(redone);
  CHECK(allocator.free_blocks() == all - 100);
  CHECK(allocator.owned_data_blocks() == 100);
  std::vector<PhysicalRun> rest;
  REQUIRE(allocator.allocate(all - 100, {}, rest));
  for (const PhysicalRun& run : rest)
    CHECK((run.first.next(run.count) <= redone.first || run.first >= redone.first.next(redone.count)));
  CHECK(allocator.free_blocks() == 0);
}

TEST_CASE_METHOD(Fixture, "release keeps what a later record owns again") {
  make_pool(1);
  Allocator allocator(*pool);
  must(allocator.load());
  std::vector<PhysicalRun> runs;
  REQUIRE(allocator.allocate(8, {}, runs));
  allocator.own(runs[0]);
  allocator.disown(runs[0]);
  allocator.own({runs[0].first.next(2), 3});
  const std::uint64_t before = allocator.free_blocks();
  allocator.release(runs[0]);
  CHECK(allocator.free_blocks() == before + 5);
  CHECK(allocator.owned(runs[0].first.next(2)));
}

TEST_CASE_METHOD(test::PoolFixture, "what is kept is handed out no more, and is nobody's") {
  make_pool(1);
  Allocator allocator(*pool);
  must(allocator.load());
  std::vector<PhysicalRun> taken;
  REQUIRE(allocator.allocate(8, PhysicalBlock{0}, taken));
  const PhysicalRun run = taken.front();
  allocator.cancel(run);
  const std::uint64_t free = allocator.free_blocks();
  CHECK(allocator.keep({run.first, 4}));
  CHECK(allocator.keep({run.first, 4}));
  CHECK(allocator.free_blocks() == free - 4);
  CHECK(allocator.owned_data_blocks() == 0);
  taken.clear();
  REQUIRE(allocator.allocate(allocator.free_blocks(), PhysicalBlock{0}, taken));
  for (const PhysicalRun& other : taken) {
    const bool apart =
        run.first.value + 4 <= other.first.value || other.first.value + other.count <= run.first.value;
    CHECK(apart);
  }
  for (const PhysicalRun& other : taken) allocator.cancel(other);
  allocator.own({run.first.next(4), 1});
  CHECK_FALSE(allocator.keep({run.first, 5}));
  CHECK_FALSE(allocator.keep({PhysicalBlock{1}, 1}));
  allocator.cancel({run.first, 4});
  CHECK(allocator.free_blocks() == free - 1);
}

}  // namespace
}  // namespace coppice
