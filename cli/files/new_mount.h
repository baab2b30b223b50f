// NewMount: a file system mounted nowhere, reached by a descriptor of its root and gone with the last one.
//
// Errors are the kernel's, with what it had to say.
#pragma once

#include <string>

#include "cli/unique_fd.h"
#include "coppice/result.h"

namespace coppice::cli {

class NewMount {
 public:
  // kUnsupported: this kernel has no such file system.
  static Outcome<NewMount> begin(const std::string& type);
  // What fails is told by finish().
  NewMount& set(const char* key, const std::string& value);
  NewMount& set(const char* flag);
  // `attributes`: MOUNT_ATTR_…. The root can be opened from (openat), and walked, not read itself.
  Outcome<UniqueFd> finish(unsigned attributes);

 private:
  NewMount(std::string type, UniqueFd context) : type_(std::move(type)), context_(std::move(context)) {}
  [[nodiscard]] std::string said() const;

  std::string type_;
  UniqueFd context_;
  int error_ = 0;
};

}  // namespace coppice::cli
