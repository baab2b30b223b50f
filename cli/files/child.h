// A program run for a command, which ends with it.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "cli/unique_fd.h"
#include "coppice/result.h"

namespace coppice::cli {

struct ChildStreams {
  int input = -1;              // -1: nothing to read
  int output = -1;             // -1: the command's own
  std::vector<int> kept = {};  // open in it, under the same numbers
};

// `words` begin with the program, looked for in PATH.
Outcome<pid_t> start_child(const std::vector<std::string>& words, const ChildStreams& streams);
// Its exit code; 128 and the signal where one ended it.
int wait_for_child(pid_t child);
[[nodiscard]] bool is_installed(const std::string& program);

// Of the machine: not only in a namespace of one's own, where one looks like it.
[[nodiscard]] bool is_root();

}  // namespace coppice::cli
