// The image that a disk is to stand on, as the command finds it: opened with its rights, named by a path that
// the daemon finds as well.
#pragma once

#include <string>

#include "cli/unique_fd.h"
#include "coppice/result.h"

namespace coppice::cli {

struct BaseImage {
  UniqueFd file;
  std::string path;  // absolute, without links
};
// Refuses what is no raw image; `surely_raw`: whatever it looks like.
Outcome<BaseImage> open_base_image(const std::string& path, bool surely_raw);

}  // namespace coppice::cli
