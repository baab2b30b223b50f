#include "fuse/scratch_device.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>

#include "coppice/reactor.h"
#include "memory_device.h"

using namespace coppice;
using namespace coppice::fuse;

TEST_CASE("what is written over a snapshot is read again, and the snapshot stays as it is") {
  const auto reactor = std::move(*Reactor::create());
  constexpr std::uint64_t kSize = 40 * kBlockBytes + 512;
  test::MemoryDisk disk(*reactor, kSize);
  std::mt19937_64 chance(7);
  for (auto& byte : disk.content()) byte = static_cast<std::byte>(chance());
  const std::vector<std::byte> before(disk.content().begin(), disk.content().end());
  std::vector<std::byte> record = before;
  ScratchDevice scratch(std::make_unique<test::MemoryDevice>(disk, true));
  CHECK_FALSE(scratch.read_only());
  CHECK(scratch.size_bytes() == kSize);
  for (int round = 0; round < 300; ++round) {
    const std::uint64_t offset = chance() % kSize;
    const std::uint64_t length = 1 + chance() % std::min<std::uint64_t>(kSize - offset, 3 * kBlockBytes);
    const auto at = record.begin() + static_cast<std::ptrdiff_t>(offset);
    std::vector<std::byte> bytes(length);
    switch (chance() % 4) {
      case 0:
        for (auto& byte : bytes) byte = static_cast<std::byte>(chance());
        REQUIRE(reactor->run(scratch.write(offset, bytes, {})).has_value());
        std::ranges::copy(bytes, at);
        break;
      case 1:
        REQUIRE(reactor->run(scratch.write_zeroes(offset, length, {})).has_value());
        std::fill_n(at, length, std::byte{0});
        break;
      case 2:
        REQUIRE(reactor->run(scratch.discard(offset, length, {})).has_value());
        std::fill_n(at, length, std::byte{0});
        break;
      default:
        REQUIRE(reactor->run(scratch.read(offset, bytes)).has_value());
        CHECK(std::equal(bytes.begin(), bytes.end(), at));
    }
  }
  std::vector<std::byte> all(kSize);
  REQUIRE(reactor->run(scratch.read(0, all)).has_value());
  CHECK(all == record);
  CHECK(std::ranges::equal(disk.content(), before));
}
