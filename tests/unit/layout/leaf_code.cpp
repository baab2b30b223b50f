#include <catch2/catch.hpp>

#include "base/wire.h"
#include "layout/leaf.h"
#include "samples.h"

using namespace coppice;
using namespace coppice::layout_test;

namespace {

Leaf scattered(Random& random, std::uint64_t pool_blocks, std::uint64_t epochs) {
  Leaf leaf;
  for (unsigned i = 0; i < kLeafBlocks; ++i)
    leaf.map(i, 1, PhysicalBlock{1 + below(random, pool_blocks)}, Epoch{1'000'000 + below(random, epochs)});
  return leaf;
}

Leaf mixed(Random& random) {
  Leaf leaf;
  for (std::uint64_t steps = below(random, 20); steps > 0; --steps) {
    const auto first = static_cast<unsigned>(below(random, 64));
    const auto count = static_cast<unsigned>(1 + below(random, 64 - first));
    const Epoch birth{below(random, 100)};
    if (random() % 3 == 0)
      leaf.zero(first, count, birth);
    else
      leaf.map(first, count, PhysicalBlock::of(below(random, 200), 1 + below(random, 1u << 30)), birth);
  }
  return leaf;
}

bool accepted(std::initializer_list<int> bytes) {
  Bytes from;
  for (const int byte : bytes) from.push_back(static_cast<std::byte>(byte));
  return Leaf::decode(from).has_value();
}

}  // namespace

TEST_CASE("64 scattered blocks of a TiB, written over 10,000 epochs, take at most 512 bytes") {
  Random random(8);
  for (int i = 0; i < 3000; ++i) {
    const Leaf leaf = scattered(random, std::uint64_t{1} << 28, 10'000);
    const Bytes bytes = encoded(leaf);
    REQUIRE(bytes.size() <= 512);
    REQUIRE(*Leaf::decode(bytes) == leaf);
  }
}

TEST_CASE("64 TiB over 2,000 epochs can't exceed it, and a contiguous leaf takes a dozen bytes") {
  Random random(9);
  for (int i = 0; i < 1000; ++i)
    REQUIRE(encoded(scattered(random, std::uint64_t{1} << 34, 2000)).size() <= 64 * 7 + 5);
  Leaf leaf;
  leaf.map(0, 64, PhysicalBlock{1u << 28}, Epoch{1'000'000});
  CHECK(encoded(leaf).size() <= 12);
}

TEST_CASE("extremes come back: the highest address and epochs far apart") {
  Leaf leaf;
  leaf.map(0, 2, PhysicalBlock{~std::uint64_t{0} - 1}, Epoch{(std::uint64_t{1} << 60) - 1});
  leaf.map(2, 1, PhysicalBlock{1}, Epoch{0});
  leaf.zero(63, 1, Epoch{1});
  const auto back = Leaf::decode(encoded(leaf));
  REQUIRE(back);
  CHECK(*back == leaf);
}

TEST_CASE("hostile leaves: what decodes is exactly what the encoder writes") {
  Random random(10);
  std::size_t taken = 0;
  for (int i = 0; i < 100'000; ++i) {
    const Bytes hostile =
        damaged(encoded(i % 3 == 0 ? scattered(random, 1u << 20, 50) : mixed(random)), random);
    const auto leaf = Leaf::decode(hostile);
    if (!leaf) continue;
    ++taken;
    REQUIRE(encoded(*leaf) == hostile);
  }
  CHECK(taken > 1000);  // else the test looks at refusals only
}

TEST_CASE("noise is refused or canonical") {
  Random random(11);
  for (int i = 0; i < 100'000; ++i) {
    Bytes noise(below(random, 40));
    for (std::byte& byte : noise) byte = static_cast<std::byte>(random() >> (random() % 56));
    if (noise.size() > 1) noise[0] = std::byte{1}, noise[1] = static_cast<std::byte>(below(random, 6));
    const auto leaf = Leaf::decode(noise);
    if (leaf) REQUIRE(encoded(*leaf) == noise);
  }
}

TEST_CASE("every rule of the grammar is enforced") {
  // format, run count, lowest birth, then per run: head, [gap], [length], [physical]
  CHECK(accepted({1, 0}));
  CHECK(accepted({1, 1, 5, 0, 8}));  // one block at physical 4
  CHECK_FALSE(accepted({}));
  CHECK_FALSE(accepted({1}));
  CHECK_FALSE(accepted({2, 0}));                  // another format
  CHECK_FALSE(accepted({1, 0, 5}));               // bytes left over
  CHECK_FALSE(accepted({1, 65}));                 // too many runs
  CHECK_FALSE(accepted({1, 1, 5, 0}));            // cut short
  CHECK_FALSE(accepted({1, 1, 5, 8, 8}));         // no run has the lowest birth
  CHECK_FALSE(accepted({1, 1, 5, 0, 0}));         // physical 0 is a superblock
  CHECK_FALSE(accepted({1, 1, 5, 4, 0, 8}));      // a gap of nothing
  CHECK_FALSE(accepted({1, 1, 5, 2, 1, 8}));      // a length that needs no byte
  CHECK_FALSE(accepted({1, 1, 5, 2, 65, 8}));     // behind the leaf's end
  CHECK_FALSE(accepted({1, 1, 5, 6, 60, 5, 8}));  // the same with a gap
  CHECK_FALSE(accepted({1, 2, 5, 0, 8, 0, 0}));   // continues the run before: must be one
  CHECK_FALSE(accepted({1, 2, 5, 1, 1}));         // so must zeroes
  CHECK_FALSE(accepted({1, 1, 0x85, 0, 0, 8}));   // a varint longer than needed
  // Epochs end below 2^60: what is above could not be encoded together with one of today.
  CHECK(accepted({1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 8}));
  CHECK_FALSE(accepted({1, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10, 0, 8}));
}
