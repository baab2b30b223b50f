// The qcow2 reader on images made by hand. Those of QEMU: tests/interop/qcow2_test.py.
#include <zlib.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>

#include "../../support/memory_image.h"
#include "image/qcow2_file.h"

using namespace coppice;

namespace {

constexpr std::uint64_t kCluster = 512;
constexpr std::uint64_t kL1At = 2 * kCluster;
constexpr std::uint64_t kL2At = 3 * kCluster;
constexpr std::uint64_t kDataAt = 4 * kCluster;
constexpr std::uint64_t kPackedBit = std::uint64_t{1} << 62;

// Version 3, clusters of 512 bytes, one table of the second level, for 64 clusters.
struct Image {
  std::vector<std::byte> bytes = std::vector<std::byte>(16 * kCluster);
  template <class T>
  void put(std::uint64_t at, T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i)
      bytes[at + i] = static_cast<std::byte>(value >> (8 * (sizeof(T) - 1 - i)));
  }
  Image() {
    put<std::uint32_t>(0, 0x514649fb);
    put<std::uint32_t>(4, 3);
    put<std::uint32_t>(20, 9);
    put<std::uint64_t>(24, 64 * kCluster);
    put<std::uint32_t>(36, 1);
    put<std::uint64_t>(40, kL1At);
    put<std::uint32_t>(100, 112);
    put<std::uint64_t>(kL1At, kL2At);
  }
  void entry(std::uint64_t cluster, std::uint64_t value) { put<std::uint64_t>(kL2At + 8 * cluster, value); }
  void fill(std::uint64_t at, std::uint64_t length, unsigned value) {
    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), length, static_cast<std::byte>(value));
  }
  [[nodiscard]] Outcome<std::unique_ptr<BlockFile>> open() const {
    const auto blocking = std::make_shared<MemoryImage>(bytes);
    return open_qcow2(
        std::make_unique<MemoryImage>(bytes),
        [blocking](std::uint64_t offset, std::span<std::byte> into) { return blocking->read(offset, into); },
        bytes.size());
  }
  [[nodiscard]] std::string refusal() const {
    const auto opened = open();
    return opened ? "" : opened.error().message;
  }
};

int read(BlockFile& file, std::uint64_t offset, std::span<std::byte> into) {
  const auto error = read_at_once(file, offset, into);
  REQUIRE(error.has_value());
  return *error;
}

bool all(std::span<const std::byte> bytes, unsigned value) {
  return std::ranges::all_of(bytes,
                             [value](std::byte each) { return each == static_cast<std::byte>(value); });
}

}  // namespace

TEST_CASE("data, zeroes and holes of an image") {
  Image image;
  image.fill(kDataAt, 2 * kCluster, 7);
  image.entry(0, kDataAt | std::uint64_t{1} << 63);
  image.entry(1, (kDataAt + kCluster) | std::uint64_t{1} << 63);
  image.entry(3, kDataAt | 1);  // zeroes, with a cluster kept for later
  auto file = image.open();
  REQUIRE(file);
  CHECK((*file)->size_bytes() == 64 * kCluster);
  std::vector<std::byte> into(4 * kCluster, std::byte{9});
  REQUIRE(read(**file, 100, into) == 0);
  CHECK(all(std::span(into).first(2 * kCluster - 100), 7));
  CHECK(all(std::span(into).subspan(2 * kCluster - 100), 0));
  CHECK((*file)->first_data(0, 64 * kCluster) == 0);
  CHECK((*file)->first_hole(0, 64 * kCluster) == 2 * kCluster);
  CHECK((*file)->first_data(2 * kCluster, 64 * kCluster) == 64 * kCluster);
  CHECK(read(**file, 64 * kCluster - 1, std::span(into).first(2)) == EIO);
}

TEST_CASE("in version 2 there are no zero clusters") {
  Image image;
  image.put<std::uint32_t>(4, 2);
  image.fill(kDataAt, kCluster, 5);
  image.entry(0, kDataAt | 1);
  auto file = image.open();
  REQUIRE(file);
  std::vector<std::byte> into(kCluster);
  REQUIRE(read(**file, 0, into) == 0);
  CHECK(all(into, 5));
}

TEST_CASE("what stands behind the end of the file was never written; a cluster that begins there is damage") {
  Image image;
  image.bytes.resize(kDataAt + 100);
  image.fill(kDataAt, 100, 3);
  image.entry(0, kDataAt);
  image.entry(1, kDataAt + kCluster);
  auto file = image.open();
  REQUIRE(file);
  std::vector<std::byte> into(kCluster, std::byte{9});
  REQUIRE(read(**file, 0, into) == 0);
  CHECK(all(std::span(into).first(100), 3));
  CHECK(all(std::span(into).subspan(100), 0));
  CHECK(read(**file, kCluster, into) == EIO);
}

TEST_CASE("a packed cluster, and a damaged one") {
  Image image;
  std::vector<std::byte> plain(kCluster, std::byte{0x5a});
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, -12, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(plain.data());
  stream.avail_in = static_cast<uInt>(plain.size());
  stream.next_out = reinterpret_cast<Bytef*>(image.bytes.data() + kDataAt + 77);
  stream.avail_out = kCluster;
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  deflateEnd(&stream);
  image.entry(2, kPackedBit | (kDataAt + 77));
  image.entry(3, kPackedBit | (kDataAt + 2 * kCluster));  // zeroes are no deflate stream
  image.entry(4, kPackedBit | (image.bytes.size() + 5));
  auto file = image.open();
  REQUIRE(file);
  std::vector<std::byte> into(kCluster);
  REQUIRE(read(**file, 2 * kCluster, into) == 0);
  CHECK(into == plain);
  REQUIRE(read(**file, 2 * kCluster + 500, std::span(into).first(12)) == 0);
  CHECK(read(**file, 3 * kCluster, into) == EIO);
  CHECK(read(**file, 4 * kCluster, into) == EIO);
  CHECK(read(**file, kCluster, std::span(into)) == 0);
}

TEST_CASE("a table that is not in the file is EIO where it is needed") {
  Image image;
  image.put<std::uint64_t>(24, 128 * kCluster);
  image.put<std::uint32_t>(36, 2);
  image.put<std::uint64_t>(kL1At + 8, image.bytes.size());
  auto file = image.open();
  REQUIRE(file);
  std::vector<std::byte> into(kCluster);
  CHECK(read(**file, 0, into) == 0);
  CHECK(read(**file, 64 * kCluster, into) == EIO);
  CHECK((*file)->first_data(0, 128 * kCluster) == 64 * kCluster);
}

TEST_CASE("headers that can't be read say why") {
  const auto with = [](auto change) {
    Image image;
    change(image);
    return image.refusal();
  };
  CHECK(with([](Image&) {}).empty());
  const auto says = [&](auto change, const char* what) { CHECK_THAT(with(change), Catch::Contains(what)); };
  says([](Image& i) { i.put<std::uint32_t>(0, 1); }, "no qcow2");
  says([](Image& i) { i.put<std::uint32_t>(4, 4); }, "version 4");
  says([](Image& i) { i.put<std::uint32_t>(20, 8); }, "clusters");
  says([](Image& i) { i.put<std::uint32_t>(20, 22); }, "clusters");
  says([](Image& i) { i.put<std::uint64_t>(24, 0); }, "empty");
  says([](Image& i) { i.put<std::uint64_t>(24, 65 * kCluster); }, "too short");
  says([](Image& i) { i.put<std::uint64_t>(40, 16 * kCluster); }, "not within the file");
  says([](Image& i) { i.put<std::uint64_t>(40, ~std::uint64_t{511}); }, "not within the file");
  says([](Image& i) { i.put<std::uint64_t>(40, kL1At + 8); }, "not within the file");
  says([](Image& i) { i.put<std::uint32_t>(32, 2); }, "encrypted");
  says([](Image& i) { i.put<std::uint64_t>(72, 2); }, "corrupt");
  says([](Image& i) { i.put<std::uint64_t>(72, 4); }, "another file");
  says([](Image& i) { i.put<std::uint64_t>(72, 16); }, "extended_l2");
  says([](Image& i) { i.put<std::uint64_t>(72, 32); }, "newer");
  says(
      [](Image& i) {
        i.put<std::uint64_t>(72, 8);
        i.bytes[104] = std::byte{2};
      },
      "packed in a way");
  says(
      [](Image& i) {
        i.put<std::uint64_t>(72, 8);
        i.put<std::uint32_t>(100, 104);
      },
      "compression type");
  says(
      [](Image& i) {
        i.put<std::uint64_t>(8, 600);
        i.put<std::uint32_t>(16, 1);
        i.bytes[600] = std::byte{'b'};
      },
      "stands on another image, b");
  says([](Image& i) { i.bytes.resize(60); }, "ends early");
  CHECK(with([](Image& i) { i.put<std::uint64_t>(72, 1); }).empty());  // was not closed
}
