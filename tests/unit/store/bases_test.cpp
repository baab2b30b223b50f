// Disks over a read-only image, on a real store and real files.
#include <catch2/catch.hpp>
#include <cstring>
#include <fstream>
#include <random>

#include "store_fixture.h"

using namespace coppice;
using namespace coppice::test;

namespace {

using Bytes = std::vector<std::byte>;

Bytes random_bytes(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  Bytes bytes(size);
  for (std::byte& each : bytes) each = static_cast<std::byte>(random());
  return bytes;
}

class BaseFixture : public StoreFixture {
 public:
  static constexpr std::uint64_t kImageBytes = (3 << 20) + 1536;  // the end is inside a block

  BaseFixture() { write_image(image, content); }
  ~BaseFixture() {
    std::filesystem::remove(image);
    std::filesystem::remove(moved);
  }
  BaseFixture(const BaseFixture&) = delete;
  BaseFixture& operator=(const BaseFixture&) = delete;

  static void write_image(const std::filesystem::path& path, const Bytes& bytes) {
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  void create_over(const std::string& disk, std::uint64_t size = 0, DiskPolicy policy = {}) {
    require(run(store->create_disk_over(disk, size, policy, {image.string(), -1})));
  }
  std::unique_ptr<BlockDevice> device(const std::string& disk, const std::string& snapshot = "") {
    const Access access = snapshot.empty() ? Access::kReadWrite : Access::kReadOnly;
    auto opened = run(store->open_device({disk, snapshot}, access, {"test"}));
    require(opened);
    return std::move(*opened);
  }
  Bytes read(BlockDevice& from, std::uint64_t offset, std::size_t length) {
    Bytes bytes(length);
    REQUIRE(run(from.read(offset, bytes)).has_value());
    return bytes;
  }
  Bytes read_all(const std::string& disk, const std::string& snapshot = "") {
    const auto from = device(disk, snapshot);
    return read(*from, 0, from->size_bytes());
  }
  void write(BlockDevice& to, std::uint64_t offset, const Bytes& bytes) {
    REQUIRE(run(to.write(offset, bytes, {})).has_value());
  }
  Bytes image_now() const {
    std::ifstream file(image, std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    Bytes bytes(text.size());
    std::memcpy(bytes.data(), text.data(), text.size());
    return bytes;
  }
  // What the disk must read, by its size.
  Bytes expected(std::uint64_t size) const {
    Bytes bytes = content;
    bytes.resize(size);
    return bytes;
  }
  void flatten(const std::string& disk) {
    require(run(store->start_flatten(disk, Store::FlattenPace::kAtOnce)));
    for (int i = 0; i < 10'000; ++i) {
      const auto base = info(disk).base;
      if (!base) return;
      REQUIRE((!base->flatten || base->flatten->running));
      run(pause());
    }
    FAIL("it does not end");
  }
  Task<void> pause() { co_await sleep_for(*reactor, std::chrono::milliseconds(1)); }

  const Bytes content = random_bytes(kImageBytes, 1);
  const std::filesystem::path image =
      std::filesystem::current_path() / ("base-" + std::to_string(getpid()) + ".raw");
  const std::filesystem::path moved = image.string() + ".moved";
};

constexpr std::uint64_t kBlock = kBlockBytes;

bool is_open(const std::filesystem::path& path) {
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    if (std::filesystem::read_symlink(entry.path(), gone) == path) return true;
  }
  return false;
}

}  // namespace

TEST_CASE_METHOD(BaseFixture, "a disk over an image reads it, as large as it, and never writes it") {
  create_over("disk");
  const std::uint64_t size = round_up(kImageBytes, kSectorBytes);
  CHECK(info("disk").size_bytes == size);
  CHECK(info("disk").base->path == image.string());
  CHECK(read_all("disk") == expected(size));
  Bytes wanted = expected(size);
  {
    const auto disk = device("disk");
    // A whole block, a part of one, and the last bytes.
    for (const auto& [offset, length] : {std::pair{4 * kBlock, kBlock},
                                         {100 * kBlock + 7, std::uint64_t{99}},
                                         {size - 700, std::uint64_t{700}}}) {
      const Bytes bytes = random_bytes(length, static_cast<unsigned>(offset));
      write(*disk, offset, bytes);
      std::ranges::copy(bytes, wanted.begin() + static_cast<std::ptrdiff_t>(offset));
    }
    CHECK(read(*disk, 0, size) == wanted);
  }
  reopen();
  CHECK(read_all("disk") == wanted);
  CHECK(image_now() == content);
  check();
}

TEST_CASE_METHOD(BaseFixture, "a larger disk has zeroes behind its base") {
  create_over("disk", 5 << 20);
  CHECK(read_all("disk") == expected(5 << 20));
  const auto disk = device("disk");
  std::vector<Extent> extents;
  REQUIRE(run(disk->extents(0, 5 << 20, 10, extents)).has_value());
  REQUIRE(extents.size() == 2);
  CHECK((extents[0].allocated && !extents[1].allocated));
  CHECK(extents[1].offset_bytes == round_up(kImageBytes, kBlock));
  const auto depth_of_image = [&] {
    extents.clear();
    REQUIRE(run(disk->layers(0, 5 << 20, 10, extents)).has_value());
    return extents[0].depth;
  };
  CHECK(depth_of_image() == 2);
  snapshot("disk", "one");
  CHECK(depth_of_image() == 3);
}

TEST_CASE_METHOD(BaseFixture, "what is zeroed does not show the base again") {
  create_over("disk", 5 << 20);
  Bytes wanted = expected(5 << 20);
  const auto zero = [&](std::uint64_t offset, std::uint64_t length) {
    std::fill_n(wanted.begin() + static_cast<std::ptrdiff_t>(offset), length, std::byte{0});
  };
  {
    const auto disk = device("disk");
    REQUIRE(run(disk->discard(10 * kBlock + 5, 3 * kBlock, {})).has_value());
    zero(10 * kBlock + 5, 3 * kBlock);
    REQUIRE(run(disk->write_zeroes(70 * kBlock, 200 * kBlock, {})).has_value());
    zero(70 * kBlock, 200 * kBlock);
    REQUIRE(run(disk->write_zeroes(500 * kBlock, 3 * kBlock, {.no_hole = true})).has_value());
    zero(500 * kBlock, 3 * kBlock);
    // Over the base's end.
    REQUIRE(run(disk->discard(700 * kBlock, (5 << 20) - 700 * kBlock, {})).has_value());
    zero(700 * kBlock, (5 << 20) - 700 * kBlock);
    CHECK(read(*disk, 0, 5 << 20) == wanted);
    std::vector<Extent> extents;
    REQUIRE(run(disk->extents(70 * kBlock, 200 * kBlock, 10, extents)).has_value());
    REQUIRE(extents.size() == 1);
    CHECK_FALSE(extents[0].allocated);
  }
  reopen();
  CHECK(read_all("disk") == wanted);
}

TEST_CASE_METHOD(BaseFixture, "a disk that shrinks and grows does not show the base where it was cut") {
  create_over("disk");
  require(run(store->resize("disk", (1 << 20) + 512)));
  require(run(store->resize("disk", 4 << 20)));
  Bytes wanted = expected((1 << 20) + 512);
  wanted.resize(4 << 20);
  CHECK(read_all("disk") == wanted);
}

TEST_CASE_METHOD(BaseFixture, "snapshots and clones see the base, and diff knows it from zeroes") {
  create_over("disk");
  snapshot("disk", "one");
  {
    const auto disk = device("disk");
    write(*disk, 0, random_bytes(kBlock, 5));
    REQUIRE(run(disk->discard(8 * kBlock, 2 * kBlock, {})).has_value());
  }
  require(run(store->clone({"disk", "one"}, "clone")));
  CHECK(read_all("clone") == read_all("disk", "one"));
  CHECK(read_all("clone") == expected(info("clone").size_bytes));
  auto changed = run(store->diff({"disk", "one"}, {"disk", ""}, 0));
  require(changed);
  REQUIRE(changed->size() == 2);
  CHECK(((*changed)[0].offset_bytes == 0 && (*changed)[0].length_bytes == kBlock && !(*changed)[0].zero));
  CHECK(((*changed)[1].offset_bytes == 8 * kBlock && (*changed)[1].length_bytes == 2 * kBlock));
  CHECK((*changed)[1].zero);
  // The other way round the base's content is not zero.
  auto back = run(store->diff({"disk", ""}, {"disk", "one"}, 0));
  require(back);
  REQUIRE(back->size() == 1 + 1);
  CHECK_FALSE((*back)[1].zero);
  check();
}

TEST_CASE_METHOD(BaseFixture, "holes of a base are told as such") {
  std::filesystem::remove(image);
  {
    std::ofstream file(image, std::ios::binary);
    file.seekp(8 << 20);
    file.write("end", 3);
  }
  create_over("disk");
  const auto disk = device("disk");
  std::vector<Extent> extents;
  REQUIRE(run(disk->extents(0, disk->size_bytes(), 10, extents)).has_value());
  REQUIRE(extents.size() == 2);
  CHECK((!extents[0].allocated && extents[0].length_bytes == 8 << 20));
  CHECK(read(*disk, 8 << 20, 4)[1] == std::byte{'n'});
}

TEST_CASE_METHOD(BaseFixture, "a base that is gone or was changed: its disks are refused, all others work") {
  create_over("disk");
  create("other");
  SECTION("gone, and back") {
    std::filesystem::rename(image, moved);
    reopen();
    refused(run(store->open_device({"disk", ""}, Access::kReadOnly, {"test"})), ErrorKind::kIo,
            "coppice set disk base=PATH");
    refused(run(store->resize("disk", 1 << 20)), ErrorKind::kIo, "is not there");
    CHECK(first("other") == 0);
    auto report = run(store->check(false));
    require(report);
    CHECK(report->problems.size() == 1);
    std::filesystem::rename(moved, image);
    CHECK(read_all("disk") == expected(info("disk").size_bytes));
    check();
  }
  SECTION("written") {
    close();
    std::fstream file(image, std::ios::binary | std::ios::in | std::ios::out);
    file.write("changed", 7);
    file.close();
    open();
    refused(run(store->open_device({"disk", ""}, Access::kReadOnly, {"test"})), ErrorKind::kIo, "its base");
    refused(run(store->set_base("disk", {image.string(), -1})), ErrorKind::kInvalid, "");
    CHECK(first("other") == 0);
  }
  SECTION("written while the store is open") {
    {
      std::ofstream(image, std::ios::binary | std::ios::app) << "more";
    }
    refused(run(store->open_device({"disk", ""}, Access::kReadOnly, {"test"})), ErrorKind::kIo, "bytes now");
  }
  SECTION("elsewhere") {
    close();
    write_image(moved, content);
    std::filesystem::remove(image);
    open();
    require(run(store->set_base("disk", {moved.string(), -1})));
    CHECK(read_all("disk") == expected(info("disk").size_bytes));
    reopen();
    CHECK(read_all("disk") == expected(info("disk").size_bytes));
  }
  SECTION("touched: the same, if the user says so") {
    close();
    std::filesystem::last_write_time(image,
                                     std::filesystem::file_time_type::clock::now() + std::chrono::hours(1));
    open();
    refused(run(store->open_device({"disk", ""}, Access::kReadOnly, {"test"})), ErrorKind::kIo,
            "coppice set disk base=" + image.string());
    require(run(store->set_base("disk", {image.string(), -1})));
    CHECK(read_all("disk") == expected(info("disk").size_bytes));
  }
  SECTION("copied with its time of change: known again by its samples") {
    close();
    const auto time = std::filesystem::last_write_time(image);
    write_image(moved, content);
    std::filesystem::last_write_time(moved, time);
    std::filesystem::rename(moved, image);
    open();
    CHECK(read_all("disk") == expected(info("disk").size_bytes));
  }
}

TEST_CASE_METHOD(BaseFixture, "what is no base is refused in plain words") {
  const auto over = [&](const std::string& path) {
    return run(store->create_disk_over("disk", 0, {}, {path, -1}));
  };
  refused(over("/nothing/there"), ErrorKind::kNotFound, "/nothing/there");
  refused(over(directory.string()), ErrorKind::kInvalid, directory.string());
  write_image(moved, {});
  refused(over(moved.string()), ErrorKind::kInvalid, "empty");
  refused(run(store->set_base("none", {image.string(), -1})), ErrorKind::kNotFound, "none");
  create("plain");
  refused(run(store->set_base("plain", {image.string(), -1})), ErrorKind::kInvalid, "stands on no base");
  refused(run(store->start_flatten("plain", Store::FlattenPace::kAtOnce)), ErrorKind::kInvalid, "no base");
  refused(run(store->stop_flatten("plain")), ErrorKind::kInvalid, "not being flattened");
}

TEST_CASE_METHOD(BaseFixture, "a flattened disk needs its base no more") {
  create_over("disk", 5 << 20, {.strict = GENERATE(false, true)});
  Bytes wanted = expected(5 << 20);
  {
    const auto disk = device("disk");
    const Bytes bytes = random_bytes(3 * kBlock, 7);
    write(*disk, 9 * kBlock, bytes);
    std::ranges::copy(bytes, wanted.begin() + 9 * kBlock);
    REQUIRE(run(disk->discard(20 * kBlock, 5 * kBlock, {})).has_value());
    std::fill_n(wanted.begin() + 20 * kBlock, 5 * kBlock, std::byte{0});
    // In use meanwhile.
    flatten("disk");
    CHECK(read(*disk, 0, 5 << 20) == wanted);
  }
  CHECK_FALSE(info("disk").base);
  std::filesystem::remove(image);
  reopen();
  CHECK(read_all("disk") == wanted);
  snapshot("disk", "one");
  check();
}

TEST_CASE_METHOD(BaseFixture, "zeroes of the base take no space when it is copied") {
  write_image(image, Bytes(4 << 20));
  create_over("disk");
  const auto used = [&] { return run(store->pools())->front().used_bytes; };
  const std::uint64_t before = used();
  flatten("disk");
  CHECK(used() == before);
  CHECK(read_all("disk") == Bytes(4 << 20));
}

TEST_CASE_METHOD(BaseFixture, "a disk that shares its base is not flattened") {
  create_over("disk");
  snapshot("disk", "one");
  const auto start = [&] { return run(store->start_flatten("disk", Store::FlattenPace::kAtOnce)); };
  refused(start(), ErrorKind::kBusy, "disk@one reads");
  require(run(store->clone({"disk", "one"}, "clone")));
  refused(start(), ErrorKind::kBusy, "disk@one, clone read");
  require(run(store->trash({{"clone", ""}}, false)));
  refused(start(), ErrorKind::kBusy, "clone (in the trash)");
  require(run(store->purge({"clone"})));
  require(run(store->remove({{"disk", "one"}}, false)));
  require(run(store->wait_for_reclaim()));
  flatten("disk");
  CHECK(read_all("disk") == expected(info("disk").size_bytes));
}

TEST_CASE_METHOD(BaseFixture, "while it is flattened a disk takes no snapshot; an interrupted one goes on") {
  create_over("disk");
  require(run(store->start_flatten("disk", Store::FlattenPace::kBackground)));
  refused(run(store->snapshot({{"disk", "one"}}, {})), ErrorKind::kBusy, "flatten disk --stop");
  refused(run(store->remove({{"disk", ""}}, false)), ErrorKind::kBusy, "flatten");
  reopen();
  refused(run(store->snapshot({{"disk", "one"}}, {})), ErrorKind::kBusy, "flatten disk --stop");
  CHECK(read_all("disk") == expected(info("disk").size_bytes));
  SECTION("to its end") {
    flatten("disk");
    std::filesystem::remove(image);
    CHECK(read_all("disk") == expected(info("disk").size_bytes));
  }
  SECTION("or is ended") {
    require(run(store->stop_flatten("disk")));
    snapshot("disk", "one");
    CHECK(read_all("disk", "one") == expected(info("disk").size_bytes));
  }
  reopen();
  check();
}

TEST_CASE_METHOD(BaseFixture,
                 "a flatten that finds the pool full says so, and the disk goes on over its base") {
  close();
  std::filesystem::remove_all(directory);
  InitOptions options{.directory = directory.string(), .pools = {{directory.string() + "/pool", 24 << 20}}};
  require(run(init_store(*reactor, std::move(options), {})));
  open();
  const Bytes large = random_bytes(40 << 20, 3);
  write_image(image, large);
  create_over("disk");
  require(run(store->start_flatten("disk", Store::FlattenPace::kBackground)));
  for (int i = 0; i < 20'000 && info("disk").base->flatten->running; ++i) run(pause());
  REQUIRE(info("disk").base);
  CHECK_FALSE(info("disk").base->flatten->running);
  CHECK(info("disk").base->flatten->problem.find("full") != std::string::npos);
  CHECK(told("is not flattened") == 1);
  CHECK(read_all("disk") == large);
}

TEST_CASE_METHOD(BaseFixture, "a base goes with the last disk that stands on it") {
  create_over("disk");
  create("other");
  require(run(store->remove({{"disk", ""}}, false)));
  require(run(store->wait_for_reclaim()));
  auto dump = run(store->dump());
  require(dump);
  CHECK(dump->find("base of=") == std::string::npos);
  CHECK(is_open(image));
  require(run(store->run_policies()));
  CHECK_FALSE(is_open(image));
  std::filesystem::remove(image);
  reopen();
  CHECK(told("base") == 0);
}
