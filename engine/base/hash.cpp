#include "base/hash.h"

#include <cassert>

#include "base/hash_kernel.h"

namespace coppice {

namespace {

const detail::HashKernel& best_kernel() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) return detail::kAvx512Kernel;
  if (__builtin_cpu_supports("avx2")) return detail::kAvx2Kernel;
#endif
  return detail::kBaselineKernel;
}

const detail::HashKernel& kernel() {
  static const detail::HashKernel& chosen = best_kernel();
  return chosen;
}

}  // namespace

std::uint64_t hash64(std::span<const std::byte> bytes, std::uint64_t seed) {
  return kernel().hash64(bytes.data(), bytes.size(), seed);
}

std::uint32_t block_checksum(std::span<const std::byte, kBlockBytes> block, PhysicalBlock address) {
  std::uint32_t checksum = 0;
  kernel().block_checksums(block.data(), 1, address.value, &checksum);
  return checksum;
}

void block_checksums(std::span<const std::byte> blocks, PhysicalBlock first, std::span<std::uint32_t> into) {
  assert(blocks.size() == into.size() * kBlockBytes);
  kernel().block_checksums(blocks.data(), into.size(), first.value, into.data());
}

}  // namespace coppice
