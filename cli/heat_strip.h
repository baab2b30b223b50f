// Heat strip: where on a disk the changes lie, as a picture of one line. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "coppice/store.h"

namespace coppice::cli {

struct StripStyle {
  std::size_t columns = 80;
  bool unicode = true;
};

// A column is a stretch of the disk, the fuller the more of it is in `ranges`; below it, in words, how much
// that is. What differs at all is never an empty column.
[[nodiscard]] std::string draw_strip(std::span<const DiffRange> ranges, std::uint64_t size_bytes,
                                     const StripStyle& style);

}  // namespace coppice::cli
