// The `coppice` program: reads the command line, runs one verb, and says how it went.
#pragma once

#include <ostream>

namespace coppice::cli {

// Answers an ExitCode. Answers go to `out`, messages to `err`.
int run_program(int argc, const char* const* argv, std::ostream& out, std::ostream& err);

}  // namespace coppice::cli
