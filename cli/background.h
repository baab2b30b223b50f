// Work that goes on in a process of its own when the command has ended.
//
// Main thread, before any other is made.
#pragma once

#include <functional>
#include <string>

#include "coppice/result.h"

namespace coppice::cli {

// Tells the command that the work goes on, with a text for it; from then on messages go to `log`.
using Ready = std::function<void(const std::string& text)>;

// Runs `work` in the background. Returns when it called its Ready, with that text, or when it failed before.
Outcome<std::string> run_in_background(const std::string& log,
                                       const std::function<Outcome<>(const Ready&)>& work);

}  // namespace coppice::cli
