// One compilation of XXH3 for one instruction set; hash.cpp picks the best that the machine has.
//
// Only C headers may be seen by the files that implement a kernel: an inline function of the standard library
// compiled there for AVX-512 could be the copy that the linker keeps for everyone.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace coppice::detail {

// Zero is left to mean "unknown" in a checksum page; a block whose hash ends in it counts as 1.
static constexpr uint32_t checksum_of(uint64_t hash) {
  const auto low = static_cast<uint32_t>(hash);
  return low != 0 ? low : 1;
}

struct HashKernel {
  uint64_t (*hash64)(const void* data, size_t bytes, uint64_t seed);
  // The checksums of `count` blocks that stand one after the other, the first at `address`.
  void (*block_checksums)(const void* blocks, size_t count, uint64_t address, uint32_t* into);
};

extern const HashKernel kBaselineKernel;  // what every machine of this architecture has
#if defined(__x86_64__)
extern const HashKernel kAvx2Kernel;
extern const HashKernel kAvx512Kernel;
#endif

}  // namespace coppice::detail
