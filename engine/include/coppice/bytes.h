// Sizes as people write them.
#pragma once

#include <cstdint>
#include <string>

#include "coppice/result.h"

namespace coppice {

// "10G" → 10737418240. Bytes, or K M G T P in powers of 1024. Refuses everything else, and overflow.
Outcome<std::uint64_t> parse_size(const std::string& text);
// 10737418240 → "10.0 GiB".
std::string format_size(std::uint64_t bytes);

}  // namespace coppice
