// Files as tar(1) writes and unpacks them: owners by number, modes, times, links, devices, extended
// attributes, ACLs, holes.
#pragma once

#include <string>

#include "coppice/result.h"

namespace coppice::cli {

// `folder` and `into` are descriptors of folders; `name` is in the first.
Outcome<> write_tar(int folder, const std::string& name, int output);
Outcome<> copy_by_tar(int folder, const std::string& name, int into);

}  // namespace coppice::cli
