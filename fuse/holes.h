// Where the data and the holes of a file are, from a device's extents.
//
// The search asks for a bounded stretch at a time, so that it never holds the map for long.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "coppice/block_device.h"

namespace coppice::fuse {

enum class Seek : std::uint8_t { kData, kHole };

// The first byte of that kind in `extents`, which cover a range in order; nothing if there is none. Pure.
std::optional<std::uint64_t> first_of_kind(std::span<const Extent> extents, Seek what);

// As lseek(2): kNotFound (ENXIO) where there is no more data, or from the end on; the end of the file is a
// hole.
Task<Result<std::uint64_t>> seek(BlockDevice& device, std::uint64_t from_bytes, Seek what);

}  // namespace coppice::fuse
