// Which store a command means, and what stands in it.
#pragma once

#include <string>

#include "coppice/result.h"

namespace coppice::cli {

// `given` (from --store), else COPPICE_STORE, else /var/lib/coppice for root and ~/.local/share/coppice for
// others. Absolute.
Outcome<std::string> store_directory(const std::string& given);
std::string absolute_path(const std::string& path);
// Where the daemon serves NBD unless told otherwise.
std::string default_nbd_socket(const std::string& store);

}  // namespace coppice::cli
