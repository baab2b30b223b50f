// The version that `coppice --version` prints: the project's, from CMakeLists.txt.
#pragma once

namespace coppice::cli {

inline constexpr const char* kVersion = COPPICE_VERSION;

}  // namespace coppice::cli
