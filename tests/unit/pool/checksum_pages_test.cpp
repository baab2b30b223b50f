#include "pool/checksum_pages.h"

#include <map>
#include <random>

#include "pool_fixture.h"

namespace coppice {
namespace {

constexpr std::size_t kNoLimit = std::size_t{1} << 30;

struct Fixture : test::PoolFixture {
  std::unique_ptr<ChecksumPages> pages;

  void make(std::uint64_t slabs, std::size_t limit_bytes) {
    make_pool(slabs);
    fresh(limit_bytes);
  }
  void fresh(std::size_t limit_bytes) {
    pages.reset();
    pages = std::make_unique<ChecksumPages>(*reactor, *pool, limit_bytes);
    tap.log.clear();
  }
  PhysicalBlock at(std::uint64_t index, std::uint64_t slab = 0) {
    return pool->slab_start(0, slab).next(index);
  }
  void set(PhysicalBlock first, std::vector<std::uint32_t> checksums) {
    const PhysicalRun run{first, checksums.size()};
    must(pages->pin(run));
    pages->set(first, checksums);
    pages->unpin(run);
  }
  std::optional<std::uint32_t> get(PhysicalBlock block) {
    must(pages->pin({block, 1}));
    const auto checksum = pages->get(block);
    pages->unpin({block, 1});
    return checksum;
  }
  void checkpoint(std::uint64_t sequence) {
    must(pages->write(pages->collect_dirty(1000), sequence));
    must(pool->sync_all());
  }
  PhysicalBlock page_copy(std::uint64_t page, std::uint64_t copy) {
    return at(pool->slab_layout(0).checksum_page(page) + copy);
  }
};

TEST_CASE_METHOD(Fixture, "checksums come back, across pages and after a reload; others are unknown") {
  make(1, kNoLimit);
  set(at(1018), {1, 2, 3, 4, 5});
  CHECK(get(at(1019)) == 2U);
  CHECK(get(at(1020)) == 3U);
  CHECK_FALSE(get(at(1017)).has_value());
  CHECK(pages->dirty_pages() == 2);
  checkpoint(1);
  CHECK(pages->dirty_pages() == 0);
  fresh(kNoLimit);
  CHECK(get(at(1018)) == 1U);
  CHECK(get(at(1022)) == 5U);
  CHECK_FALSE(get(at(1023)).has_value());
}

TEST_CASE_METHOD(Fixture, "an entry made unknown stays so on disk") {
  make(1, kNoLimit);
  set(at(500), {7, 8});
  must(pages->pin({at(500), 1}));
  pages->set_unknown(at(500));
  pages->unpin({at(500), 1});
  CHECK_FALSE(get(at(500)).has_value());
  checkpoint(1);
  fresh(kNoLimit);
  CHECK_FALSE(get(at(500)).has_value());
  CHECK(get(at(501)) == 8U);
}

TEST_CASE_METHOD(Fixture, "try_pin succeeds only where all pages are resident") {
  make(1, kNoLimit);
  CHECK_FALSE(pages->try_pin({at(100), 1}));
  must(pages->pin({at(100), 1}));
  CHECK(pages->try_pin({at(200), 5}));
  CHECK_FALSE(pages->try_pin({at(1000), 100}));
  CHECK_FALSE(pages->try_pin({PhysicalBlock{3}, 1}));
  const auto outside = run(pages->pin({at(4000), 200}));
  REQUIRE_FALSE(outside.has_value());
  CHECK(outside.error().kind == ErrorKind::kCorrupt);
}

TEST_CASE_METHOD(Fixture, "beyond the limit the oldest clean pages go; dirty and pinned ones stay") {
  make(8, 1);  // the least: 16 pages, of 40
  for (std::uint64_t slab = 0; slab < 8; ++slab)
    for (std::uint64_t page = 0; page < 5; ++page)
      set(at(page * 1020 + (page == 4 ? 0 : 500), slab), {static_cast<std::uint32_t>(1 + slab * 5 + page)});
  CHECK(pages->resident_pages() == 40);
  CHECK(pages->dirty_pages() == 40);
  checkpoint(1);
  CHECK(pages->resident_pages() == 16);
  // The last ones used are resident, the first ones not.
  CHECK(pages->try_pin({at(500, 7), 1}));
  CHECK_FALSE(pages->try_pin({at(500, 0), 1}));
  for (std::uint64_t slab = 0; slab < 8; ++slab)
    for (std::uint64_t page = 0; page < 5; ++page)
      CHECK(get(at(page * 1020 + (page == 4 ? 0 : 500), slab)) == 1 + slab * 5 + page);
  CHECK(pages->resident_pages() == 16);
  for (std::uint64_t slab = 0; slab < 3; ++slab)
    for (std::uint64_t page = 0; page < 5; ++page) get(at(page * 1020, slab));
  CHECK(pages->try_pin({at(500, 7), 1}));
  pages->unpin({at(500, 7), 1});
  pages->unpin({at(500, 7), 1});
}

Task<void> pin_and_count(ChecksumPages& pages, PhysicalRun run, int& succeeded, Latch& done) {
  auto pinned = co_await pages.pin(run);
  succeeded += pinned.has_value() ? 1 : 0;
  done.arrive();
}

Task<void> pin_together(ChecksumPages& pages, PhysicalRun run, int count, int& succeeded) {
  Latch done(static_cast<std::uint32_t>(count));
  for (int i = 0; i < count; ++i) spawn(pin_and_count(pages, run, succeeded, done));
  co_await done;
}

TEST_CASE_METHOD(Fixture, "a page is loaded once for all who want it, and fails for all") {
  make(1, kNoLimit);
  const PhysicalRun two_pages{at(1000), 100};
  int succeeded = 0;
  SECTION("it is there") {
    run(pin_together(*pages, two_pages, 10, succeeded));
    CHECK(succeeded == 10);
    CHECK(tap.count(IoRequest::Kind::kRead) == 2);
  }
  SECTION("one page can't be read") {
    const std::uint64_t bad = page_copy(1, 0).offset_bytes();
    tap.fail = [bad](const IoRequest& request) { return request.offset_bytes == bad ? EIO : 0; };
    run(pin_together(*pages, two_pages, 10, succeeded));
    CHECK(succeeded == 0);
    CHECK(tap.count(IoRequest::Kind::kRead) >= 2);
    // Nothing is left pinned, and what failed is tried again.
    tap.fail = nullptr;
    run(pin_together(*pages, two_pages, 3, succeeded));
    CHECK(succeeded == 3);
    for (int i = 0; i < 3; ++i) pages->unpin(two_pages);
  }
}

TEST_CASE_METHOD(Fixture, "a page of which no copy verifies is unknown, but for what is set anew") {
  make(1, kNoLimit);
  set(at(600), {6, 7});
  checkpoint(1);  // copy 1
  set(at(602), {8});
  checkpoint(2);  // copy 0
  flip_bytes(page_copy(0, 0));
  SECTION("one copy damaged: the older one, and it is repaired") {
    fresh(kNoLimit);
    CHECK(get(at(600)) == 6U);
    CHECK_FALSE(get(at(602)).has_value());
    CHECK(pages->dirty_pages() == 1);
    checkpoint(3);
    flip_bytes(page_copy(0, 1));
    fresh(kNoLimit);
    CHECK(get(at(600)) == 6U);
  }
  SECTION("both damaged") {
    flip_bytes(page_copy(0, 1));
    fresh(kNoLimit);
    CHECK_FALSE(get(at(600)).has_value());
    set(at(600), {9});
    checkpoint(3);
    fresh(kNoLimit);
    CHECK(get(at(600)) == 9U);
    CHECK_FALSE(get(at(601)).has_value());
  }
}

TEST_CASE_METHOD(Fixture, "what is set while its page is being written stays dirty") {
  make(1, kNoLimit);
  set(at(300), {1});
  auto images = pages->collect_dirty(10);
  REQUIRE(images.size() == 1);
  set(at(301), {2});
  CHECK(pages->dirty_pages() == 1);
  CHECK(pages->collect_dirty(10).empty());  // not while the write is under way
  must(pages->write(std::move(images), 1));
  auto again = pages->collect_dirty(10);
  CHECK(again.size() == 1);
  must(pages->write(std::move(again), 2));
  fresh(kNoLimit);
  CHECK(get(at(301)) == 2U);
}

TEST_CASE_METHOD(Fixture, "a failed write leaves its pages dirty and resident") {
  make(1, kNoLimit);
  set(at(300), {1});
  set(at(1300), {2});
  const std::uint64_t bad = page_copy(1, 1).offset_bytes();
  tap.fail = [bad](const IoRequest& request) { return request.offset_bytes == bad ? EIO : 0; };
  const auto failed = run(pages->write(pages->collect_dirty(10), 1));
  REQUIRE_FALSE(failed.has_value());
  CHECK(pages->dirty_pages() == 1);
  tap.fail = nullptr;
  checkpoint(2);
  fresh(kNoLimit);
  CHECK(get(at(300)) == 1U);
  CHECK(get(at(1300)) == 2U);
}

TEST_CASE_METHOD(Fixture, "random use under a small limit agrees with a map") {
  make(8, 1);
  std::mt19937 random(3);
  std::map<std::uint64_t, std::uint32_t> oracle;
  std::uint64_t sequence = 0;
  for (int i = 0; i < 6000; ++i) {
    const std::uint64_t index = random() % 4000;
    const PhysicalBlock first = at(index, random() % 8);
    if (random() % 2 == 0) {
      std::vector<std::uint32_t> checksums(1 + random() % 96);
      for (std::size_t k = 0; k < checksums.size(); ++k)
        oracle[first.value + k] = checksums[k] = 1 + static_cast<std::uint32_t>(random() % 1'000'000);
      set(first, checksums);
    } else {
      const auto found = oracle.find(first.value);
      const auto got = get(first);
      REQUIRE(got.has_value() == (found != oracle.end()));
      if (got) REQUIRE(*got == found->second);
    }
    if (random() % 40 == 0) must(pages->write(pages->collect_dirty(1 + random() % 40), ++sequence));
  }
  checkpoint(++sequence);
  CHECK(pages->resident_pages() <= 16);
  fresh(1);
  for (const auto& [address, checksum] : oracle)
    if (random() % 16 == 0) REQUIRE(get(PhysicalBlock{address}) == checksum);
}

}  // namespace
}  // namespace coppice
