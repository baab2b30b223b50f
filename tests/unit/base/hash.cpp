#include "base/hash.h"

#include <xxhash.h>

#include <catch2/catch.hpp>
#include <random>
#include <vector>

#include "base/hash_kernel.h"

using namespace coppice;

namespace {

std::vector<std::byte> random_bytes(std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

std::vector<const detail::HashKernel*> kernels() {
  std::vector<const detail::HashKernel*> all = {&detail::kBaselineKernel};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) all.push_back(&detail::kAvx2Kernel);
  if (__builtin_cpu_supports("avx512f")) all.push_back(&detail::kAvx512Kernel);
#endif
  return all;
}

}  // namespace

TEST_CASE("the hash is XXH3-64, whatever the instruction set") {
  CHECK(hash64({}, 0) == 0x2d06800538d394c2);  // XXH3's published value for no input
  const auto bytes = random_bytes(20000, 1);
  for (std::size_t size = 0; size < 19000; size += 1 + size / 7) {
    for (const std::size_t start : {0u, 1u, 33u}) {
      const auto part = std::span(bytes).subspan(start, size);
      const std::uint64_t seed = size * 0x9e3779b97f4a7c15ull;
      const std::uint64_t expected = XXH3_64bits_withSeed(part.data(), part.size(), seed);
      REQUIRE(hash64(part, seed) == expected);
      for (const auto* kernel : kernels())
        REQUIRE(kernel->hash64(part.data(), part.size(), seed) == expected);
    }
  }
}

TEST_CASE("a block's checksum is the low half, bound to its address") {
  const auto bytes = random_bytes(8 * kBlockBytes, 2);
  const PhysicalBlock first = PhysicalBlock::of(3, 77);
  std::vector<std::uint32_t> run(8);
  block_checksums(bytes, first, run);
  for (std::size_t i = 0; i < 8; ++i) {
    const std::span<const std::byte, kBlockBytes> block(bytes.data() + i * kBlockBytes, kBlockBytes);
    const PhysicalBlock at = first.next(i);
    CHECK(run[i] == static_cast<std::uint32_t>(XXH3_64bits_withSeed(block.data(), kBlockBytes, at.value)));
    CHECK(run[i] == block_checksum(block, at));
    CHECK(run[i] != block_checksum(block, at.next()));
    for (const auto* kernel : kernels()) {
      std::uint32_t one = 0;
      kernel->block_checksums(block.data(), 1, at.value, &one);
      CHECK(one == run[i]);
    }
  }
}

TEST_CASE("no block has the checksum 0, which means unknown") {
  CHECK(detail::checksum_of(0xffffffff00000000) == 1);
  CHECK(detail::checksum_of(0xffffffff00000001) == 1);
  CHECK(detail::checksum_of(0x00000000fffffffe) == 0xfffffffe);
}
