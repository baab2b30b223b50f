// Opening a pool: what is carried over, and one line for each way in which files are not what was asked for.
#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>

#include "pool_fixture.h"

namespace coppice {
namespace {

using test::kMiB;
namespace fs = std::filesystem;

struct Fixture : test::PoolFixture {
  std::vector<std::string> paths = {scratch.file("pool.0"), scratch.file("pool.1")};

  Fixture() {
    REQUIRE(try_create({{paths[0], 64 * kMiB}, {paths[1], 64 * kMiB}}).has_value());
    open_both();
    for (int i = 0; i < 6; ++i) must(pool->add_slab());
  }
  void open_both() {
    pool.reset();
    auto opened = try_open(paths);
    if (!opened) FAIL(opened.error().message);
    pool = std::move(*opened);
  }
  void close() { pool.reset(); }
  void refused(const std::vector<std::string>& which, ErrorKind kind, const std::string& message) {
    const auto opened = try_open(which);
    REQUIRE_FALSE(opened.has_value());
    CHECK(opened.error().message == message);
    CHECK(kind_name(opened.error().kind) == std::string(kind_name(kind)));
  }
  // Edits the superblock of a member in all four places.
  void rewrite(const std::string& path, const std::function<void(Superblock&)>& edit) {
    close();
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    std::array<std::byte, kBlockBytes> block{};
    Superblock newest;
    for (const std::uint64_t offset : kSuperblockOffsets) {
      file.seekg(static_cast<std::streamoff>(offset));
      file.read(reinterpret_cast<char*>(block.data()), kBlockBytes);
      const auto found = decode_superblock(block);
      if (found && found->generation > newest.generation) newest = *found;
    }
    edit(newest);
    encode_superblock(newest, block);
    for (const std::uint64_t offset : kSuperblockOffsets) {
      file.seekp(static_cast<std::streamoff>(offset));
      file.write(reinterpret_cast<const char*>(block.data()), kBlockBytes);
    }
  }
  void overwrite(const std::string& path, std::uint64_t offset, std::size_t bytes, char with) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset));
    const std::string junk(bytes, with);
    file.write(junk.data(), static_cast<std::streamsize>(junk.size()));
  }
};

TEST_CASE_METHOD(Fixture, "superblocks carry the state over, each time in the next two places") {
  const std::uint64_t before = pool->superblock(0).generation | 1;
  for (std::uint64_t i = 1; i <= 6; ++i) {
    must(pool->write_superblocks(
        {.clean = i % 2 == 0, .open_generation = i, .journal_tail_sequence = 10 * i}));
    open_both();
    for (std::uint64_t member = 0; member < 2; ++member) {
      const Superblock& superblock = pool->superblock(member);
      CHECK(superblock.clean == (i % 2 == 0));
      CHECK(superblock.open_generation == i);
      CHECK(superblock.journal_tail_sequence == 10 * i);
      CHECK(superblock.slab_count == 3);
    }
    CHECK(pool->superblock(0).generation == before + 2 * i);
  }
}

TEST_CASE_METHOD(Fixture,
                 "of a state's two superblocks one is enough; with both torn the state before counts") {
  must(pool->write_superblocks({.clean = false, .open_generation = 1, .journal_tail_sequence = 1}));
  must(pool->write_superblocks({.clean = false, .open_generation = 2, .journal_tail_sequence = 2}));
  const std::uint64_t place = pool->superblock(0).generation % 4;
  close();
  overwrite(paths[0], kSuperblockOffsets[place] + 100, 400, '\0');
  open_both();
  CHECK(pool->superblock(0).open_generation == 2);
  CHECK_FALSE(pool->newer_may_be_lost());
  close();
  overwrite(paths[0], kSuperblockOffsets[place ^ 1] + 100, 400, '\0');
  open_both();
  CHECK(pool->newer_may_be_lost());
  CHECK(pool->superblock(0).open_generation == 1);
  CHECK(pool->superblock(1).open_generation == 2);
}

TEST_CASE_METHOD(Fixture, "a block of the pool is found in its slab, and nothing outside") {
  const auto place = pool->locate(pool->slab_start(1, 2).next(77));
  REQUIRE(place.has_value());
  CHECK(place->member == 1);
  CHECK(place->slab == 2);
  CHECK(place->index == 77);
  CHECK_FALSE(pool->locate(PhysicalBlock{0}).has_value());
  CHECK_FALSE(pool->locate(PhysicalBlock{pool->slab_start(0, 0).value - 1}).has_value());
  CHECK_FALSE(pool->locate(pool->slab_start(1, 3)).has_value());
  CHECK_FALSE(pool->locate(PhysicalBlock::of(2, 2000)).has_value());
}

TEST_CASE_METHOD(Fixture, "a missing file") {
  close();
  fs::remove(paths[1]);
  refused(paths, ErrorKind::kNotFound,
          "pool file " + paths[1] + " is missing: put it back, or attach its device");
}

TEST_CASE_METHOD(Fixture, "a file cut short") {
  const std::uint64_t used = kSuperblockAreaBytes + 3 * 16 * kMiB;
  close();
  fs::resize_file(paths[1], used);
  CHECK(try_open(paths).has_value());
  fs::resize_file(paths[1], used - 4096);
  refused(
      paths, ErrorKind::kCorrupt,
      "pool file " + paths[1] + " is cut short: 4096 of its " + std::to_string(used) +
          " bytes are missing: restore it from a backup, or open the store read-only to save what is left");
  fs::resize_file(paths[1], 0);
  refused(paths, ErrorKind::kCorrupt,
          "pool file " + paths[1] +
              " is cut short: it has 0 B, not even a superblock's area: restore it from a backup");
}

TEST_CASE_METHOD(Fixture, "files in the wrong order, or not all of them") {
  close();
  refused({paths[1], paths[0]}, ErrorKind::kInvalid,
          "pool file " + paths[1] +
              " is file 2 of its pool, but stands as number 1: put the files in their order");
  refused({paths[0]}, ErrorKind::kInvalid,
          "pool file " + paths[0] +
              " is one of 2 files of its pool, but 1 are named: name all of them, in order");
}

TEST_CASE_METHOD(Fixture, "another store's file, or one that goes with other metadata") {
  const Uuid other = random_uuid();
  SECTION("as the store's directory knows it") {
    rewrite(paths[1], [&](Superblock& superblock) { superblock.store = other; });
    refused(paths, ErrorKind::kInvalid,
            "pool file " + paths[1] + " belongs to another store (" + to_text(other) + "), not to " +
                to_text(store));
  }
  SECTION("without knowing which store it is") {
    rewrite(paths[1], [&](Superblock& superblock) { superblock.store = other; });
    store = {};
    refused(paths, ErrorKind::kInvalid,
            "pool file " + paths[1] + " belongs to another store than " + paths[0]);
  }
  SECTION("metadata") {
    rewrite(paths[1], [&](Superblock& superblock) { superblock.metadata = other; });
    refused(paths, ErrorKind::kInvalid,
            "pool file " + paths[1] + " belongs with other metadata than " + paths[0] +
                ": one of them is from another time");
  }
}

TEST_CASE_METHOD(Fixture, "a newer format, in whichever way it says so") {
  SECTION("version") {
    rewrite(paths[0], [](Superblock& superblock) { superblock.version = kFormatVersion + 1; });
  }
  SECTION("a feature one must know") {
    rewrite(paths[0], [](Superblock& superblock) { superblock.incompat = std::uint64_t{1} << 62; });
  }
  refused(paths, ErrorKind::kUnsupported,
          "pool file " + paths[0] + " was written by a newer coppice: open it with that version");
}

TEST_CASE_METHOD(Fixture, "a feature that is required stands in every member, and stays") {
  const auto has = [this](std::uint64_t member) {
    return pool->superblock(member).incompat == kIncompatBases;
  };
  CHECK_FALSE(has(0));
  const std::uint64_t before = pool->superblock().generation;
  must(pool->require_feature(kIncompatBases));
  CHECK((has(0) && has(1)));
  const std::uint64_t after = pool->superblock().generation;
  CHECK(after > before);
  must(pool->require_feature(kIncompatBases));
  CHECK(pool->superblock().generation == after);
  must(pool->write_superblocks({true, 7, 9}));
  open_both();
  CHECK((has(0) && has(1)));
  CHECK(pool->superblock().open_generation == 7);
}

TEST_CASE_METHOD(Fixture, "a feature that one must know to write leaves the pool readable") {
  rewrite(paths[0], [](Superblock& superblock) { superblock.ro_compat = 2; });
  refused(paths, ErrorKind::kReadOnly,
          "pool file " + paths[0] +
              " was written by a newer coppice, which alone can write it: use that version");
  PoolOptions options{paths, {}, opener(), {}, std::chrono::seconds(1), true};
  auto opened = run(Pool::open(*reactor, std::move(options)));
  REQUIRE(opened.has_value());
  // What is written stays in memory, over what the file holds.
  AlignedBuffer block(kBlockBytes);
  std::memset(block.data(), 0x5a, kBlockBytes);
  const PhysicalBlock at = (*opened)->slab_start(0, 0).next(100);
  must(write_blocks((*opened)->file(0), at.offset_bytes(), block.span()));
  AlignedBuffer two(2 * kBlockBytes);
  must(read_blocks((*opened)->file(0), at.offset_bytes(), two.span()));
  CHECK(std::memcmp(two.data(), block.data(), kBlockBytes) == 0);
  CHECK(std::memcmp(two.data() + kBlockBytes, block.data(), kBlockBytes) != 0);
  auto second = run(Pool::open(*reactor, {paths, {}, opener(), {}, std::chrono::seconds(1), true}));
  CHECK(second.has_value());  // readers share the lock
}

TEST_CASE_METHOD(Fixture, "a damaged pool, and a file that never was one") {
  close();
  SECTION("all superblocks damaged") {
    for (const std::uint64_t offset : kSuperblockOffsets) overwrite(paths[0], offset + 64, 64, '\x77');
    refused(
        paths, ErrorKind::kCorrupt,
        "pool file " + paths[0] + " is damaged: none of its superblocks is valid: restore it from a backup");
  }
  SECTION("no superblock") {
    for (const std::uint64_t offset : kSuperblockOffsets) overwrite(paths[0], offset, 4096, '\x77');
    refused(paths, ErrorKind::kInvalid,
            "pool file " + paths[0] + " is not a coppice pool: it holds no superblock");
  }
  SECTION("a layout that can't be") {
    rewrite(paths[0], [](Superblock& superblock) { superblock.slab_blocks = 5000; });
    refused(paths, ErrorKind::kCorrupt,
            "pool file " + paths[0] + " is damaged: its superblock describes an impossible layout");
  }
}

TEST_CASE_METHOD(Fixture, "a pool in use is waited for, told once, then refused by name") {
  notices.clear();
  const auto started = std::chrono::steady_clock::now();
  const auto opened = try_open(paths, std::chrono::seconds{1});
  const auto waited = std::chrono::steady_clock::now() - started;
  REQUIRE_FALSE(opened.has_value());
  CHECK(opened.error().kind == ErrorKind::kBusy);
  CHECK(opened.error().message ==
        "pool file " + paths[0] + " is in use by another process: stop it, or use the store through it");
  CHECK(waited >= std::chrono::milliseconds{950});
  REQUIRE(notices.size() == 1);
  CHECK(notices[0].starts_with("waiting for the pool's lock: "));
}

Task<Outcome<std::unique_ptr<Pool>>> open_later(Scheduler& scheduler, PoolOptions options) {
  auto opened = co_await Pool::open(scheduler, std::move(options));
  co_return opened;
}

Task<void> close_after(Scheduler& scheduler, std::unique_ptr<Pool>& pool) {
  co_await sleep_for(scheduler, std::chrono::milliseconds{600});  // long enough to be told
  pool.reset();
}

TEST_CASE_METHOD(Fixture, "a pool that becomes free while it is waited for is opened") {
  notices.clear();
  spawn(close_after(*reactor, pool));
  auto opened = run(open_later(*reactor, {paths, store, opener(), notice(), std::chrono::seconds{20}}));
  REQUIRE(opened.has_value());
  CHECK(notices.size() == 1);
  CHECK(pool == nullptr);
}

}  // namespace
}  // namespace coppice
