// xxh3 as the formats use it. Seeds bind a hash to its place, so that a block written elsewhere by mistake
// does not verify.
//
// Any thread. The fastest instruction set of the machine is chosen once; the results never depend on it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "coppice/types.h"

namespace coppice {

std::uint64_t hash64(std::span<const std::byte> bytes, std::uint64_t seed);

// The checksum of one 4 KiB block of the pool: the low 32 bits of XXH3-64 seeded with its address. Where
// those are 0 it is 1: on disk 0 means "unknown".
std::uint32_t block_checksum(std::span<const std::byte, kBlockBytes> block, PhysicalBlock address);

// The same for a run of blocks; `into` has one entry per block and `blocks` that many times 4 KiB.
void block_checksums(std::span<const std::byte> blocks, PhysicalBlock first, std::span<std::uint32_t> into);

}  // namespace coppice
