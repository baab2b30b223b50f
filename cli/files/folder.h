// What the folders of a guest's file system hold.
#pragma once

#include <string>
#include <vector>

#include "coppice/result.h"

namespace coppice::cli {

// kIo: errno's text, behind the path.
std::unexpected<Failure> io_trouble(const std::string& path);
// Sorted, without "." and ".."; `path` is for the words of an error.
Outcome<std::vector<std::string>> names_in(int folder, const std::string& path);
// Empty if it is no link.
std::string link_target(int folder, const std::string& name);

}  // namespace coppice::cli
