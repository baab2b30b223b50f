#include "fuse/holes.h"

#include <catch2/catch.hpp>
#include <cerrno>

#include "coppice/reactor.h"
#include "memory_device.h"

using namespace coppice;
using namespace coppice::fuse;

TEST_CASE("the first of a kind") {
  const std::vector<Extent> extents{{0, 4096, false}, {4096, 8192, true}, {12288, 4096, false}};
  CHECK(first_of_kind(extents, Seek::kData) == 4096);
  CHECK(first_of_kind(extents, Seek::kHole) == 0);
  CHECK(first_of_kind(std::span(extents).subspan(1), Seek::kHole) == 12288);
  CHECK_FALSE(first_of_kind(std::span(extents).first(1), Seek::kData).has_value());
  CHECK_FALSE(first_of_kind({}, Seek::kHole).has_value());
}

TEST_CASE("lseek as the manual has it, at every byte") {
  const auto made = Reactor::create();
  REQUIRE(made.has_value());
  Reactor& reactor = **made;
  // Blocks: data at 2, 3 and 6; the last is partial.
  constexpr std::uint64_t kSize = 7 * kBlockBytes + 512;
  test::MemoryDisk disk(reactor, kSize);
  disk.mark(2 * kBlockBytes, 2 * kBlockBytes, true);
  disk.mark(6 * kBlockBytes, kBlockBytes, true);
  test::MemoryDevice device(disk, false);
  const auto is_data = [&disk](std::uint64_t offset) { return disk.allocated(offset / kBlockBytes); };
  for (std::uint64_t from = 0; from <= kSize; from += 511) {
    for (const Seek what : {Seek::kData, Seek::kHole}) {
      std::uint64_t expected = from;
      while (expected < kSize && is_data(expected) != (what == Seek::kData)) ++expected;
      const bool none = from >= kSize || (expected == kSize && what == Seek::kData);
      const auto found = reactor.run(seek(device, from, what));
      REQUIRE(found.has_value() == !none);
      if (none) {
        CHECK(found.error().kind == ErrorKind::kNotFound);
      } else {
        CHECK(*found == expected);
      }
    }
  }
}

TEST_CASE("lseek tells a failure") {
  const auto made = Reactor::create();
  REQUIRE(made.has_value());
  test::MemoryDisk disk(**made, 1 << 20);
  disk.failure = Error{ErrorKind::kCorrupt, EIO, "damaged"};
  test::MemoryDevice device(disk, false);
  const auto found = (*made)->run(seek(device, 0, Seek::kData));
  REQUIRE_FALSE(found.has_value());
  CHECK(found.error().kind == ErrorKind::kCorrupt);
}
