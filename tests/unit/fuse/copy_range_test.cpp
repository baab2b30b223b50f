#include "fuse/copy_range.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>

#include "coppice/reactor.h"
#include "memory_device.h"

using namespace coppice;
using namespace coppice::fuse;

namespace {

constexpr std::uint64_t kSize = (std::uint64_t{5} << 20) + 512;

struct Disks {
  std::unique_ptr<Reactor> reactor = std::move(*Reactor::create());
  test::MemoryDisk from{*reactor, kSize};
  test::MemoryDisk to{*reactor, kSize};
  BufferPool buffers;

  Disks() {
    std::mt19937_64 chance(1);
    for (auto& byte : to.content()) byte = static_cast<std::byte>(chance());
    to.mark(0, kSize, true);
    // Data but for a hole within pieces, and one of several.
    for (auto& byte : from.content()) byte = static_cast<std::byte>(chance());
    from.mark(0, kSize, true);
    for (const auto& [offset, length] :
         {std::pair{64 * kBlockBytes, 9 * kBlockBytes}, std::pair{600 * kBlockBytes, 400 * kBlockBytes}}) {
      std::ranges::fill(from.part(offset, length), std::byte{0});
      from.mark(offset, length, false);
    }
  }
  Result<std::uint64_t> copy(std::uint64_t from_bytes, std::uint64_t to_bytes, std::uint64_t length_bytes) {
    test::MemoryDevice source(from, true);
    test::MemoryDevice target(to, false);
    return reactor->run(
        copy_range(*reactor, buffers, {&source, from_bytes}, {&target, to_bytes}, length_bytes));
  }
};

}  // namespace

TEST_CASE("a copy is what was there, and leaves the rest alone") {
  for (const auto& [from, to, length] :
       {std::tuple{std::uint64_t{0}, std::uint64_t{0}, kSize},
        std::tuple{std::uint64_t{4096}, std::uint64_t{8192}, std::uint64_t{3 << 20}},
        std::tuple{std::uint64_t{777}, std::uint64_t{12345}, std::uint64_t{2'500'001}},
        std::tuple{kSize - 100, std::uint64_t{5}, std::uint64_t{4096}},
        std::tuple{std::uint64_t{5}, kSize - 100, std::uint64_t{4096}}}) {
    Disks disks;
    std::vector<std::byte> expected(disks.to.content().begin(), disks.to.content().end());
    const std::uint64_t done = std::min({length, kSize - from, kSize - to});
    std::ranges::copy(disks.from.part(from, done), expected.begin() + static_cast<std::ptrdiff_t>(to));
    CHECK(disks.copy(from, to, length) == done);
    CHECK(std::ranges::equal(disks.to.content(), expected));
  }
}

TEST_CASE("holes stay holes") {
  Disks disks;
  REQUIRE(disks.copy(0, 0, kSize) == kSize);
  for (std::uint64_t block = 0; block * kBlockBytes < kSize; ++block)
    CHECK(disks.to.allocated(block) == disks.from.allocated(block));
}

TEST_CASE("behind an end there is nothing to copy") {
  Disks disks;
  CHECK(disks.copy(kSize, 0, 4096) == 0U);
  CHECK(disks.copy(0, kSize + 4096, 4096) == 0U);
}

TEST_CASE("an error is told") {
  Disks disks;
  disks.to.failure = Error{ErrorKind::kNoSpace, ENOSPC, "full"};
  const auto copied = disks.copy(0, 0, kSize);
  REQUIRE_FALSE(copied.has_value());
  CHECK(copied.error().kind == ErrorKind::kNoSpace);
}
