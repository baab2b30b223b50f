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
  std::string format;
};
// `format`: what it is ("raw", "qcow2"); empty: what it looks like, which may be something that no disk can
// stand on.
Outcome<BaseImage> open_base_image(const std::string& path, const std::string& format);

}  // namespace coppice::cli
