// What may be dirty of the map and of the checksum pages.
#include <algorithm>
#include <catch2/catch.hpp>

#include "house.h"

using namespace coppice;
using namespace coppice::sim;

namespace {

constexpr std::uint64_t kLeaves = 128;

Shape limited_shape(const DirtyOptions& dirty) {
  Shape shape = quiet_shape(FlushOrder::kOrderFree);
  shape.housekeeping.dirty = dirty;
  return shape;
}

// A version of each leaf behind each of some snapshots.
void write_versions(House& house) {
  house.create("disk", false, kLeaves * kLeafBytes);
  auto device = house.open_disk("disk");
  for (int round = 1; round < 4; ++round) {
    house.must(house.store().snapshot({{"disk", "s" + std::to_string(round)}}, {}));
    for (std::uint64_t leaf = 0; leaf < kLeaves; ++leaf)
      fill(house, *device, leaf * kLeafBytes, kBlockBytes, round);
  }
  AlignedBuffer data(kBlockBytes);
  for (std::uint64_t leaf = 0; leaf < kLeaves; ++leaf) {
    house.must(device->read(leaf * kLeafBytes, data.first(kBlockBytes)));
    REQUIRE(static_cast<int>(data.data()[0]) == 3);
  }
}

}  // namespace

TEST_CASE("versions wait for a checkpoint when too many are dirty") {
  constexpr std::size_t kMost = std::size_t{8} << 10;
  constexpr std::size_t kOne = 512;  // a version, and what it grows by
  House house(limited_shape({.map_bytes = kMost}));
  std::size_t most = 0;
  std::uint64_t checkpoints = 0;
  house.look = [&] {
    most = std::max(most, house.parts().map.dirty_bytes());
    checkpoints = house.checkpoints();
  };
  write_versions(house);
  CHECK(most > kMost / 2);
  CHECK(most < kMost + kOne);
  CHECK(checkpoints > 3);
  house.look = [] {};
}

TEST_CASE("without a limit they don't") {
  House house(limited_shape({}));
  std::size_t most = 0;
  house.look = [&] { most = std::max(most, house.parts().map.dirty_bytes()); };
  write_versions(house);
  CHECK(most > std::size_t{32} << 10);
  house.look = [] {};
}

TEST_CASE("writes in place wait for a checkpoint when too many checksum pages are dirty") {
  for (const bool limited : {true, false}) {
    CAPTURE(limited);
    House house(limited_shape(limited ? DirtyOptions{.checksum_pages = 1} : DirtyOptions{}));
    constexpr std::uint64_t kBytes = 1500 * kBlockBytes;  // of two pages of 1,020
    house.create("disk", false, kBytes);
    auto device = house.open_disk("disk");
    for (std::uint64_t at = 0; at < kBytes; at += 20 * kBlockBytes)
      fill(house, *device, at, 20 * kBlockBytes, 1);
    settle(house, *device);
    std::size_t most = 0;
    house.look = [&] { most = std::max(most, house.parts().checksums.dirty_pages()); };
    for (int round = 2; round < 6; ++round) {
      for (const std::uint64_t at : {std::uint64_t{0}, kBytes - kBlockBytes})
        fill(house, *device, at, kBlockBytes, round);
    }
    CHECK(most == (limited ? 1 : 2));
    house.look = [] {};
    device.reset();
  }
}

TEST_CASE("a snapshot does not wait for a write that waits for a checkpoint") {
  House house(limited_shape({.map_bytes = 1, .longest_wait = std::chrono::seconds(10)}));
  constexpr std::uint64_t kBytes = 20 * kBlockBytes;  // more than what gives its epoch back in any case
  house.create("disk", false, 2 * kBytes);
  auto device = house.open_disk("disk");
  fill(house, *device, 0, kBlockBytes, 1);
  REQUIRE(house.parts().dirty.map_is_full());
  AlignedBuffer data(kBytes);
  bool written = false;
  spawn([](BlockDevice& to, std::span<const std::byte> bytes, bool& done) -> Task<void> {
    auto result = co_await to.write(kBytes, bytes, WriteFlags{});
    CHECK(result.has_value());
    done = true;
  }(*device, data.first(kBytes), written));
  const auto before = house.now();
  house.must(house.store().snapshot({{"disk", "one"}}, {}));
  CHECK(house.now() - before < std::chrono::seconds(1));
  CHECK_FALSE(written);
  house.run_until(written);
  CHECK(house.now() - before >= std::chrono::seconds(10));
  device.reset();
}

TEST_CASE("who waits for a checkpoint is told when there will be none") {
  House house(limited_shape({.map_bytes = 1}));
  house.create("disk", false);
  auto device = house.open_disk("disk");
  fill(house, *device, 0, kBlockBytes, 1);
  REQUIRE(house.parts().dirty.map_is_full());
  house.parts().journal.stop({ErrorKind::kIo, EIO, "the device is gone"});
  AlignedBuffer data(kBlockBytes);
  const std::span<const std::byte> bytes = data.first(kBlockBytes);
  CHECK_FALSE(house.run(device->write(0, bytes, WriteFlags{})).has_value());
  device.reset();
}
