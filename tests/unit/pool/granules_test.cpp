#include "pool/granules.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "pool_fixture.h"

namespace coppice {
namespace {

using Kind = IoRequest::Kind;

// A growing pool: slabs of 1 GiB with 64 granules each.
struct Fixture : test::PoolFixture {
  std::unique_ptr<Granules> granules;

  Fixture() {
    REQUIRE(try_create({{scratch.file("pool.0"), 0}}).has_value());
    reopen();
    must(pool->add_slab());
    load(false);
  }
  void load(bool power_cut) {
    granules.reset();
    granules = std::make_unique<Granules>(*reactor, *pool);
    must(granules->load(power_cut));
    tap.log.clear();
  }
  PhysicalRun run_in(std::uint64_t granule, std::uint64_t count = 1) {
    return {pool->slab_start(0, 0).next(granule * kGranuleBlocks + 1000), count};
  }
  void take_twice() {
    granules->take_idle();
    granules->take_idle();
  }
  PhysicalBlock page_copy(std::uint64_t copy) {
    return pool->slab_start(0, 0).next(SlabLayout{}.granule_page() + copy);
  }
};

TEST_CASE_METHOD(Fixture, "a mark is written and synced before the caller goes on, once") {
  CHECK_FALSE(granules->marked(run_in(5)));
  must(granules->ensure_marked(run_in(5)));
  CHECK(tap.log == std::vector<Kind>{Kind::kWrite, Kind::kSync});
  CHECK(granules->marked(run_in(5)));
  CHECK_FALSE(granules->marked(run_in(5, 4 * kGranuleBlocks)));
  must(granules->ensure_marked(run_in(5)));
  CHECK(tap.log.size() == 2);
  must(granules->ensure_marked(run_in(5, 4 * kGranuleBlocks)));
  CHECK(granules->marked(run_in(5, 4 * kGranuleBlocks)));
  CHECK(granules->marked(run_in(9)));
  CHECK_FALSE(granules->marked(run_in(30)));
}

// Each waits for a flush of the device.
TEST_CASE_METHOD(Fixture,
                 "marks go ahead of those who ask: fifteen waits for a slab at the most, in any order") {
  std::vector<std::uint64_t> order(64);
  std::iota(order.begin(), order.end(), 0);
  std::mt19937_64 random(static_cast<std::uint64_t>(GENERATE(1, 2, 3, 4)));
  std::ranges::shuffle(order, random);
  std::uint64_t asked = 0;
  for (const std::uint64_t granule : order) {
    ++asked;
    must(granules->ensure_marked(run_in(granule)));
    granules->begin_write(run_in(granule));
    granules->end_write(run_in(granule));
    std::uint64_t marked = 0;
    for (std::uint64_t each = 0; each < 64; ++each) marked += granules->marked(run_in(each)) ? 1 : 0;
    CHECK(marked <= 4 * asked);
  }
  CHECK(tap.count(Kind::kSync) <= 15);
  CHECK(granules->take_idle() == 0);
  granules->begin_write(run_in(9));
  granules->end_write(run_in(9));
  CHECK(granules->take_idle() == 63);
}

TEST_CASE_METHOD(Fixture, "what is marked ahead follows, and begins anew behind the last") {
  must(granules->ensure_marked(run_in(40)));
  CHECK_FALSE(granules->marked(run_in(41)));
  must(granules->ensure_marked(run_in(62)));
  for (const std::uint64_t granule : {63U, 0U, 1U}) CHECK(granules->marked(run_in(granule)));
  for (const std::uint64_t granule : {2U, 61U}) CHECK_FALSE(granules->marked(run_in(granule)));
}

TEST_CASE_METHOD(Fixture, "after a kill marks are marks, after a power cut suspects") {
  must(granules->ensure_marked(run_in(5)));
  must(granules->ensure_marked(run_in(63)));
  reopen();
  load(false);
  CHECK(granules->marked(run_in(5)));
  CHECK(granules->marked(run_in(63)));
  CHECK_FALSE(granules->suspect(run_in(5).first));

  load(true);
  CHECK_FALSE(granules->marked(run_in(5)));
  CHECK(granules->suspect(run_in(5).first));
  CHECK(granules->suspect(run_in(63).first));
  CHECK_FALSE(granules->suspect(run_in(6).first));
  // A second power cut before anything was written changes nothing.
  load(true);
  CHECK(granules->suspect(run_in(5).first));

  // The next write of marks stores the suspects; they outlive a kill, until they are cleared.
  must(granules->ensure_marked(run_in(20)));
  load(false);
  CHECK(granules->suspect(run_in(5).first));
  CHECK_FALSE(granules->marked(run_in(5)));
  CHECK(granules->marked(run_in(20)));
  CHECK_FALSE(granules->suspect(run_in(20).first));
  granules->clear_suspect(run_in(5).first);
  must(granules->clear_taken());
  load(false);
  CHECK_FALSE(granules->suspect(run_in(5).first));
  CHECK(granules->suspect(run_in(63).first));
}

Task<void> mark_and_arrive(Granules& granules, PhysicalRun run, int& succeeded, Latch& done) {
  auto marked = co_await granules.ensure_marked(run);
  succeeded += marked.has_value() && granules.marked(run) ? 1 : 0;
  done.arrive();
}

Task<void> mark_all(Granules& granules, std::vector<PhysicalRun> runs, int& succeeded) {
  Latch done(static_cast<std::uint32_t>(runs.size()));
  for (const PhysicalRun run : runs) spawn(mark_and_arrive(granules, run, succeeded, done));
  co_await done;
}

TEST_CASE_METHOD(Fixture, "many callers share two writes: the one under way and the next") {
  std::vector<PhysicalRun> runs;
  for (std::uint64_t granule = 0; granule < 60; ++granule) runs.push_back(run_in(granule));
  int succeeded = 0;
  run(mark_all(*granules, runs, succeeded));
  CHECK(succeeded == 60);
  CHECK(tap.count(Kind::kWrite) == 2);
  CHECK(tap.count(Kind::kSync) == 2);
  load(false);
  for (const PhysicalRun& marked : runs) CHECK(granules->marked(marked));
}

TEST_CASE_METHOD(Fixture, "only granules without writes since the last call are taken") {
  must(granules->ensure_marked(run_in(1)));
  must(granules->ensure_marked(run_in(2)));
  CHECK(granules->take_idle() == 0);  // just marked
  granules->begin_write(run_in(1));
  CHECK(granules->take_idle() == 4);  // and 3 to 5, which were marked ahead
  CHECK(granules->marked(run_in(1)));
  CHECK_FALSE(granules->marked(run_in(2)));
  CHECK(granules->take_idle() == 0);  // in flight, though not touched again
  granules->end_write(run_in(1));
  CHECK(granules->take_idle() == 1);
  CHECK_FALSE(granules->marked(run_in(1)));
}

TEST_CASE_METHOD(Fixture, "taken marks stay on disk until they are cleared") {
  must(granules->ensure_marked(run_in(1)));
  must(granules->ensure_marked(run_in(2)));
  take_twice();
  SECTION("a crash before clear_taken finds them") {
    load(true);
    CHECK(granules->suspect(run_in(1).first));
    CHECK(granules->suspect(run_in(2).first));
  }
  SECTION("other marks written meanwhile do not clear them") {
    must(granules->ensure_marked(run_in(3)));
    load(true);
    CHECK(granules->suspect(run_in(1).first));
  }
  SECTION("clear_taken clears them, but not one marked again") {
    tap.log.clear();
    must(granules->ensure_marked(run_in(2)));
    CHECK(tap.log.empty());  // it never left the disk
    must(granules->clear_taken());
    CHECK(granules->marked(run_in(2)));
    load(true);
    CHECK_FALSE(granules->suspect(run_in(1).first));
    CHECK(granules->suspect(run_in(2).first));
  }
}

Task<void> clear_and_arrive(Granules& granules, bool& cleared, Latch& done) {
  auto outcome = co_await granules.clear_taken();
  cleared = outcome.has_value();
  done.arrive();
}

Task<void> clear_while_marking(Granules& granules, PhysicalRun run, bool& cleared, int& marked) {
  Latch done(2);
  spawn(clear_and_arrive(granules, cleared, done));
  spawn(mark_and_arrive(granules, run, marked, done));
  co_await done;
}

TEST_CASE_METHOD(Fixture, "a mark asked for while it is being cleared is written again") {
  must(granules->ensure_marked(run_in(9)));
  take_twice();
  tap.log.clear();
  bool cleared = false;
  int marked = 0;
  run(clear_while_marking(*granules, run_in(9), cleared, marked));
  CHECK(cleared);
  CHECK(marked == 1);
  CHECK(tap.count(Kind::kWrite) == 2);
  load(true);
  CHECK(granules->suspect(run_in(9).first));
}

TEST_CASE_METHOD(Fixture, "a clean close clears all marks and keeps the suspects") {
  must(granules->ensure_marked(run_in(1)));
  load(true);
  must(granules->ensure_marked(run_in(2)));
  must(granules->clear_all());
  CHECK_FALSE(granules->marked(run_in(2)));
  load(true);
  CHECK(granules->suspect(run_in(1).first));
  CHECK_FALSE(granules->suspect(run_in(2).first));
}

TEST_CASE_METHOD(Fixture, "once a sync of marks failed, none is promised any more") {
  must(granules->ensure_marked(run_in(1)));
  tap.fail = [](const IoRequest& request) { return request.kind == Kind::kSync ? EIO : 0; };
  CHECK_FALSE(run(granules->ensure_marked(run_in(2))).has_value());
  tap.fail = nullptr;
  CHECK_FALSE(granules->marked(run_in(2)));
  const auto again = run(granules->ensure_marked(run_in(2)));
  REQUIRE_FALSE(again.has_value());
  CHECK(again.error().kind == ErrorKind::kIo);
  CHECK(granules->marked(run_in(1)));
  CHECK_FALSE(run(granules->clear_taken()).has_value());
}

TEST_CASE_METHOD(Fixture, "a torn page falls back to the other copy; two damaged ones excuse nothing") {
  must(granules->ensure_marked(run_in(1)));  // copy 1
  must(granules->ensure_marked(run_in(2)));  // copy 0
  flip_bytes(page_copy(0));
  load(false);
  CHECK(granules->marked(run_in(1)));
  CHECK_FALSE(granules->marked(run_in(2)));
  flip_bytes(page_copy(1));
  load(true);
  CHECK(granules->lost_pages() == 1);
  CHECK_FALSE(granules->any_suspect());
  CHECK_FALSE(granules->marked(run_in(1)));
  must(granules->ensure_marked(run_in(1)));
  load(false);
  CHECK(granules->lost_pages() == 0);
  CHECK(granules->marked(run_in(1)));
}

}  // namespace
}  // namespace coppice
