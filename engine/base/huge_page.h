#pragma once

#include <cstddef>

namespace coppice {

inline constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

}  // namespace coppice
