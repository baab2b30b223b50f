// What differs between the trees of files of two snapshots, name by name.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "cli/files/same_content.h"
#include "coppice/result.h"

namespace coppice::cli {

enum class Difference : std::uint8_t { kAdded, kRemoved, kContent, kMetadata };

struct Comparison {
  int one;  // folders
  int other;
  Telling telling;
  const ChangedRanges& changed;
  // In order of the names; a folder stands before what is in it. Paths begin with a slash.
  std::function<void(const std::string& path, Difference what)> tell;
};

Outcome<> compare_trees(const Comparison& comparison, const std::string& path);

}  // namespace coppice::cli
