// Images in and out of a store in memory, through the real reactor and real files.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>

#include "cli/unique_fd.h"
#include "formats/export_image.h"
#include "formats/image_file.h"
#include "formats/import_image.h"
#include "formats/zero_runs.h"
#include "memory_store.h"

namespace coppice::formats {
namespace {

using Bytes = std::vector<std::byte>;
constexpr std::size_t kMiB = std::size_t{1} << 20;

cli::UniqueFd temporary_file() {
  char name[] = "/tmp/coppice-test-XXXXXX";
  cli::UniqueFd file(mkostemp(name, O_CLOEXEC));
  REQUIRE(file.valid());
  unlink(name);
  return file;
}

Bytes random_bytes(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  Bytes bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

void put(const cli::UniqueFd& file, const Bytes& bytes, std::size_t offset) {
  REQUIRE(pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)) ==
          static_cast<ssize_t>(bytes.size()));
}

Bytes content(const cli::UniqueFd& file) {
  struct stat status{};
  REQUIRE(fstat(file.get(), &status) == 0);
  Bytes bytes(static_cast<std::size_t>(status.st_size));
  REQUIRE(pread(file.get(), bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  return bytes;
}

Bytes padded(Bytes bytes) {
  bytes.resize((bytes.size() + 511) / 512 * 512);
  return bytes;
}

struct House {
  std::unique_ptr<Reactor> reactor = std::move(*Reactor::create());
  test::MemoryStore store;

  Outcome<std::uint64_t> import(const cli::UniqueFd& file, bool stream, TransferHooks hooks = {}) {
    return reactor->run(import_image(*reactor, store, {file.get(), stream, false, "web", std::move(hooks)}));
  }
  Outcome<std::uint64_t> export_to(const cli::UniqueFd& file, bool stream) {
    return reactor->run(export_image(*reactor, store, {Spec{"web", {}}, file.get(), stream, {}}));
  }
};

TEST_CASE("runs of data are whole blocks, and the tail counts") {
  Bytes bytes(5 * 4096 + 100);
  CHECK(data_runs(bytes).empty());
  bytes[4096] = std::byte{1};
  bytes[3 * 4096 - 1] = std::byte{1};
  bytes.back() = std::byte{1};
  CHECK(data_runs(bytes) == std::vector<Run>{{4096, 2 * 4096}, {5 * 4096, 100}});
  CHECK(all_zero({}));
  CHECK_FALSE(all_zero(bytes));
}

TEST_CASE("well-known formats are told from raw") {
  CHECK(std::string(foreign_format({"QFI\xfb\0\0\0\3", 8})) == "qcow2");
  CHECK(std::string(foreign_format("vhdxfile")) == "vhdx");
  CHECK(foreign_format("QFI") == nullptr);
  CHECK(std::string(foreign_format(std::string(64, '<') + "\x7f\x10\xda\xbe")) == "vdi");
  CHECK(std::string(foreign_format("\x1f\x8b\x08")) == "gzip");
  CHECK(foreign_format("") == nullptr);
}

TEST_CASE("a sparse file comes in byte for byte, and its zeroes are not written") {
  House house;
  const auto file = temporary_file();
  const Bytes data = random_bytes(3 * kMiB + 777, 1);
  REQUIRE(ftruncate(file.get(), 40 * kMiB + 123) == 0);
  put(file, data, 5 * kMiB + 4096);
  put(file, Bytes(2 * kMiB), 20 * kMiB);  // zeroes, but no hole
  put(file, random_bytes(100, 2), 40 * kMiB + 23);
  const auto size = house.import(file, false);
  REQUIRE(size.has_value());
  CHECK(*size == 40 * kMiB + 512);
  REQUIRE(house.store.images.size() == 1);
  const auto& image = *house.store.images.at("web");
  CHECK(image.bytes == padded(content(file)));
  CHECK(image.written_bytes <= data.size() + 4 * 4096);
  CHECK(image.attachments == 0);
}

TEST_CASE("a stream of unknown length comes in byte for byte") {
  // Around the window's edge, and smaller than a sector.
  for (const std::size_t size :
       {std::size_t{1}, 512 * std::size_t{3}, 16 * kMiB, 16 * kMiB + 1, 37 * kMiB + 5}) {
    House house;
    const Bytes data = random_bytes(size, 3);
    int ends[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    const cli::UniqueFd source(ends[0]);
    std::thread writer([&data, sink = ends[1]] {
      for (std::size_t done = 0; done < data.size();) {
        done += static_cast<std::size_t>(
            write(sink, data.data() + done, std::min<std::size_t>(data.size() - done, 70'001)));
      }
      close(sink);
    });
    const auto imported = house.import(source, true);
    writer.join();
    REQUIRE(imported.has_value());
    CHECK(house.store.images.at("web")->bytes == padded(data));
  }
}

TEST_CASE("a stream of another format is refused, unless it is said to be raw") {
  for (const bool surely_raw : {false, true}) {
    House house;
    const auto file = temporary_file();
    put(file, random_bytes(kMiB, 8), 0);
    REQUIRE(pwrite(file.get(), "QFI\xfb", 4, 0) == 4);
    const ImportJob job{file.get(), true, surely_raw, "web", {}};
    const auto imported = house.reactor->run(import_image(*house.reactor, house.store, job));
    CHECK(imported.has_value() == surely_raw);
    CHECK(house.store.images.contains("web") == surely_raw);
    if (!imported) CHECK(imported.error().message.find("qcow2") != std::string::npos);
  }
}

TEST_CASE("an import that fails leaves nothing") {
  House house;
  const auto file = temporary_file();
  put(file, random_bytes(30 * kMiB, 4), 0);
  SECTION("in the middle") {
    house.store.writes_until_failure = 7;
    const auto imported = house.import(file, false);
    REQUIRE_FALSE(imported.has_value());
    CHECK(imported.error().kind == ErrorKind::kNoSpace);
    CHECK(imported.error().message.find("web") != std::string::npos);
  }
  SECTION("in the middle of a stream") {
    house.store.writes_until_failure = 20;
    CHECK_FALSE(house.import(file, true).has_value());
  }
  SECTION("because nobody wants it any more") {
    int asked = 0;
    TransferHooks hooks;
    hooks.wanted = [&asked] { return ++asked < 5; };
    CHECK_FALSE(house.import(file, false, hooks).has_value());
  }
  SECTION("because who asked left at the end of the stream") {
    int asked = 0;
    TransferHooks hooks;
    hooks.wanted = [&asked] { return ++asked < 3; };  // two windows, then the end
    CHECK_FALSE(house.import(file, true, hooks).has_value());
    CHECK(asked == 3);
  }
  CHECK(house.store.images.empty());
}

TEST_CASE("an existing disk and an empty image are refused") {
  House house;
  const auto empty = temporary_file();
  CHECK(house.import(empty, false).error().kind == ErrorKind::kInvalid);
  CHECK(house.import(empty, true).error().kind == ErrorKind::kInvalid);
  REQUIRE(house.reactor->run(house.store.create_disk("web", 4096)).has_value());
  const auto file = temporary_file();
  put(file, random_bytes(1024, 5), 0);
  CHECK(house.import(file, false).error().kind == ErrorKind::kExists);
  CHECK(house.store.images.size() == 1);
  CHECK(house.store.images.at("web")->written_bytes == 0);
}

TEST_CASE("an export is the disk, with holes where it has nothing") {
  House house;
  constexpr std::size_t kSize = 64 * kMiB + 512;
  REQUIRE(house.reactor->run(house.store.create_disk("web", kSize)).has_value());
  auto& bytes = house.store.images.at("web")->bytes;
  const Bytes data = random_bytes(2 * kMiB + 4096, 6);
  std::ranges::copy(data, bytes.begin() + 9 * kMiB + 8192);
  bytes.back() = std::byte{7};
  SECTION("to a file, whatever it held") {
    const auto file = temporary_file();
    put(file, random_bytes(kMiB, 7), 100 * kMiB);
    const auto size = house.export_to(file, false);
    REQUIRE(size.has_value());
    CHECK(*size == kSize);
    CHECK(content(file) == bytes);
    struct stat status{};
    REQUIRE(fstat(file.get(), &status) == 0);
    CHECK(static_cast<std::size_t>(status.st_blocks) * 512 < 4 * kMiB);
  }
  SECTION("to a stream, every byte") {
    int ends[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    Bytes got;
    std::thread reader([&got, source = ends[1]] {
      Bytes part(100'003);
      for (ssize_t n = 0; (n = read(source, part.data(), part.size())) > 0;)
        got.insert(got.end(), part.begin(), part.begin() + n);
      close(source);
    });
    {
      const cli::UniqueFd sink(ends[0]);
      CHECK(house.export_to(sink, true).has_value());
    }
    reader.join();
    CHECK(got == bytes);
  }
  SECTION("to a descriptor that can't be written") {
    const cli::UniqueFd file(open("/dev/null", O_RDONLY | O_CLOEXEC));
    CHECK_FALSE(house.export_to(file, true).has_value());
  }
  CHECK(house.store.images.at("web")->attachments == 0);
}

}  // namespace
}  // namespace coppice::formats
