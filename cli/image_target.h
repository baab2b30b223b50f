// ImageTarget: where an export goes. A file appears under its name when it is complete and durable, or not at
// all; until then it stands beside it as NAME.XXXXXX.part, and goes away with this object.
//
// Blocking system calls of the command, with its rights and in its folder.
#pragma once

#include <string>

#include "cli/unique_fd.h"
#include "coppice/result.h"

namespace coppice::cli {

class ImageTarget {
 public:
  static Outcome<ImageTarget> standard_output();
  // Refuses to replace a file, or what a block device holds, unless `replace`.
  static Outcome<ImageTarget> open(const std::string& path, bool replace);
  ImageTarget(ImageTarget&& other) noexcept;
  ImageTarget& operator=(ImageTarget&&) = delete;
  ~ImageTarget();

  [[nodiscard]] int descriptor() const { return file_.get(); }
  [[nodiscard]] bool is_stream() const { return kind_ == Kind::kStream; }
  // Makes it durable and gives it its name.
  Outcome<> finish();

 private:
  enum class Kind : unsigned char { kNewFile, kBlockDevice, kStream };
  ImageTarget(UniqueFd file, Kind kind, std::string path)
      : file_(std::move(file)), kind_(kind), path_(std::move(path)) {}
  static Outcome<ImageTarget> new_file(const std::string& path, bool replace);
  Outcome<> give_name();

  UniqueFd file_;
  Kind kind_;
  std::string path_;
  std::string part_path_;  // empty: none, or it has its name
  bool replace_ = false;
};

}  // namespace coppice::cli
