// Unpacking what an image holds compressed.
#pragma once

#include <cstddef>
#include <span>

namespace coppice {

// Fills `into` from the beginning of a raw deflate stream, or of zstd frames; what stands behind is not
// looked at. False: it is damaged, or ends before `into` is full.
bool inflate_raw(std::span<const std::byte> packed, std::span<std::byte> into);
bool unpack_zstd(std::span<const std::byte> packed, std::span<std::byte> into);

}  // namespace coppice
