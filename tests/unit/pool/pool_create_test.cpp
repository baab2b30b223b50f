#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "layout/page.h"
#include "pool_fixture.h"

namespace coppice {
namespace {

using test::kMiB;
using Fixture = test::PoolFixture;
namespace fs = std::filesystem;

TEST_CASE_METHOD(Fixture, "a new growing pool is superblocks and a written journal, clean, without slabs") {
  REQUIRE(try_create({{scratch.file("pool.0"), 0}}).has_value());
  CHECK(fs::file_size(scratch.file("pool.0")) == 68 * kMiB);
  struct stat status{};
  REQUIRE(stat(scratch.file("pool.0").c_str(), &status) == 0);
  CHECK(static_cast<std::uint64_t>(status.st_blocks) * 512 >= 68 * kMiB);
  CHECK(notices.empty());
  reopen();
  const Superblock& superblock = pool->superblock();
  CHECK(superblock.store == store);
  CHECK(superblock.metadata == metadata);
  CHECK(superblock.generation == 1);
  CHECK(superblock.clean);
  CHECK(superblock.grows);
  CHECK(superblock.slab_count == 0);
  CHECK(superblock.created_unix_ms > 1'700'000'000'000);
  CHECK(pool->can_grow());
}

TEST_CASE_METHOD(Fixture, "a pool of fixed size has all its space from the start") {
  REQUIRE(try_create({{scratch.file("pool.0"), 100 * kMiB}}).has_value());
  struct stat status{};
  REQUIRE(stat(scratch.file("pool.0").c_str(), &status) == 0);
  CHECK(status.st_size == static_cast<off_t>(100 * kMiB));
  CHECK(static_cast<std::uint64_t>(status.st_blocks) * 512 >= 100 * kMiB);
}

TEST_CASE_METHOD(Fixture, "what create refuses, it refuses in one line and leaves nothing behind") {
  const std::string path = scratch.file("pool.0");
  const std::string second = scratch.file("pool.1");
  Outcome<> outcome;
  ErrorKind kind = ErrorKind::kInvalid;
  std::string message;
  std::vector<std::string> left;
  SECTION("an existing file") {
    std::ofstream(second) << "precious";
    outcome = try_create({{path, 64 * kMiB}, {second, 64 * kMiB}});
    kind = ErrorKind::kExists;
    message = "pool file " + second + " exists already: choose another name, or remove it";
    left = {second};
  }
  SECTION("a folder") {
    outcome = try_create({{scratch.path(), 64 * kMiB}});
    message = "pool file " + scratch.path().string() +
              " is neither a new file nor a block device: choose another path";
  }
  SECTION("a folder that is not there") {
    const std::string lost = scratch.file("no/such/pool.0");
    outcome = try_create({{lost, 64 * kMiB}});
    kind = ErrorKind::kNotFound;
    message = "pool file " + lost + " can't be created: its folder is not there";
  }
  SECTION("a member too small") {
    outcome = try_create({{path, 64 * kMiB}, {second, 8 * kMiB}});
    message = "pool file " + second + " of 8.0 MiB is too small: give it at least 20.0 MiB";
  }
  SECTION("a file named twice") {
    outcome = try_create({{path, 64 * kMiB}, {path, 64 * kMiB}});
    message = "pool file " + path + " is named twice: name each file once";
  }
  SECTION("a full file system, with the first member made already") {
    tap.full = "pool.1";
    outcome = try_create({{path, 64 * kMiB}, {second, 64 * kMiB}});
    kind = ErrorKind::kNoSpace;
    message = "pool file " + second + ": its file system is full; free space or choose another";
  }
  SECTION("a file larger than its file system") {
    outcome = try_create({{path, std::uint64_t{9999} << 50}});
    kind = ErrorKind::kNoSpace;
    REQUIRE_FALSE(outcome.has_value());
    const std::string start = "pool file " + path + " of 9999.0 PiB does not fit: its file system has ";
    CHECK(outcome.error().message.starts_with(start));
    message = outcome.error().message;
  }
  SECTION("no members") {
    outcome = try_create({});
    message = "a pool has 1 to 256 files or devices, not 0";
  }
  REQUIRE_FALSE(outcome.has_value());
  CHECK(outcome.error().kind == kind);
  CHECK(outcome.error().message == message);
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(scratch.path())) found.push_back(entry.path());
  CHECK(found == left);
}

TEST_CASE_METHOD(Fixture, "where O_DIRECT is not to be had the pool works, saying once what is lost") {
  tap.refuse_direct = true;
  REQUIRE(try_create({{scratch.file("pool.0"), 60 * kMiB}, {scratch.file("pool.1"), 52 * kMiB}}).has_value());
  REQUIRE(notices.size() == 1);
  CHECK(notices[0].find("pool.0: O_DIRECT is not to be had here, so data passes through the page cache") !=
        std::string::npos);
  notices.clear();
  const auto opened = try_open({scratch.file("pool.0"), scratch.file("pool.1")});
  REQUIRE(opened.has_value());
  CHECK(notices.size() == 1);
}

TEST_CASE_METHOD(Fixture, "slabs are added where there is room, and survive a reopen") {
  REQUIRE(try_create({{scratch.file("pool.0"), 64 * kMiB}, {scratch.file("pool.1"), 64 * kMiB}}).has_value());
  const std::vector<std::string> paths = {scratch.file("pool.0"), scratch.file("pool.1")};
  auto opened = try_open(paths);
  REQUIRE(opened.has_value());
  pool = std::move(*opened);
  std::vector<std::uint64_t> members;
  while (pool->can_grow()) members.push_back(must(pool->add_slab()).member);
  CHECK(members == std::vector<std::uint64_t>{0, 1, 0, 1, 0, 1});
  const auto full = run(pool->add_slab());
  REQUIRE_FALSE(full.has_value());
  CHECK(full.error().kind == ErrorKind::kNoSpace);

  pool.reset();
  opened = try_open(paths);
  REQUIRE(opened.has_value());
  CHECK((*opened)->superblock(0).slab_count == 3);
  CHECK((*opened)->superblock(1).slab_count == 3);
  CHECK((*opened)->slab_start(1, 1).offset_bytes() == kSuperblockAreaBytes + 16 * kMiB);
}

TEST_CASE_METHOD(Fixture, "a new slab has a header and empty pages, whatever stood there") {
  REQUIRE(try_create({{scratch.file("pool.0"), 64 * kMiB}}).has_value());
  reopen();
  const PhysicalBlock start = pool->slab_start(0, 0);
  const SlabLayout layout = pool->slab_layout(0);
  const std::size_t bytes = layout.first_data_block() * kBlockBytes;
  AlignedBuffer junk(bytes);
  std::memset(junk.data(), 0xee, bytes);
  must(write_blocks(pool->file(0), start.offset_bytes(), junk.span()));
  must(pool->add_slab());
  const AlignedBuffer front = read_raw(start.offset_bytes(), bytes);
  const auto header = decode_slab_header(front.span().first<kBlockBytes>());
  REQUIRE(header.has_value());
  CHECK(*header == SlabHeader{store, 0, 0, layout.slab_blocks});
  for (std::uint64_t block = 1; block < layout.first_data_block(); ++block) {
    const auto page = front.span().subspan(block * kBlockBytes).first<kBlockBytes>();
    const bool bitmap = block >= layout.bitmap_page(0) && block < layout.checksum_page(0);
    REQUIRE(verify_page(page, start.next(block)) == (bitmap ? (block - layout.bitmap_page(0)) % 2 + 1 : 0U));
  }
}

TEST_CASE_METHOD(Fixture, "a growing file grows by slabs; a full file system is told, and costs nothing") {
  REQUIRE(try_create({{scratch.file("pool.0"), 0}}).has_value());
  reopen();
  must(pool->add_slab());
  CHECK(fs::file_size(scratch.file("pool.0")) == 68 * kMiB + 1024 * kMiB);
  tap.full = "pool.0";
  const auto full = run(pool->add_slab());
  REQUIRE_FALSE(full.has_value());
  CHECK(full.error().kind == ErrorKind::kNoSpace);
  CHECK(pool->superblock().slab_count == 1);
  reopen();
  CHECK(pool->superblock().slab_count == 1);
}

TEST_CASE_METHOD(Fixture, "a slab is named by the superblock only after it was synced") {
  make_pool(2);
  reopen();
  REQUIRE(try_create({{scratch.file("other"), 64 * kMiB}}).has_value());
  pool.reset();
  auto opened = try_open({scratch.file("other")});
  REQUIRE(opened.has_value());
  pool = std::move(*opened);
  tap.log.clear();
  must(pool->add_slab());
  using Kind = IoRequest::Kind;
  CHECK(tap.log == std::vector<Kind>{Kind::kWrite, Kind::kSync, Kind::kWrite, Kind::kWrite, Kind::kSync});
}

}  // namespace
}  // namespace coppice
