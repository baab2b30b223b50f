// Operations: what the kernel asks, as libfuse hands it over, on to a session's FileSystem.
//
// Called from fuse_session_process_buf(), on the reactor's thread.
#pragma once

#include <cstdint>

struct fuse_lowlevel_ops;

namespace coppice::fuse {

inline constexpr std::uint32_t kMostRequestBytes = 1U << 20;  // of one read or write

struct Operations {
  static void fill(fuse_lowlevel_ops& operations);
};

}  // namespace coppice::fuse
