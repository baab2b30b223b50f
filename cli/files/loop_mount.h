// A file system of a disk's image, mounted read-only by way of a loop device.
#pragma once

#include "cli/files/volumes.h"
#include "cli/unique_fd.h"

namespace coppice::cli {

// Its root (NewMount). The loop device is given back by the kernel when that is closed. Needs root;
// kUnsupported where the kernel has no such file system.
Outcome<UniqueFd> mount_by_loop(int image, const Volume& volume);

}  // namespace coppice::cli
