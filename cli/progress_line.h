// ProgressLine: how far a copy is, on stderr, and only for a person: silent unless stderr is a terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <ostream>

namespace coppice::cli {

class ProgressLine {
 public:
  explicit ProgressLine(std::ostream& err);
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine();  // wipes the line

  // Empty when there is nobody to look. Refers to this object.
  [[nodiscard]] std::function<void(std::uint64_t, std::uint64_t)> hook();

 private:
  void show(std::uint64_t done_bytes, std::uint64_t total_bytes);

  std::ostream& err_;
  bool terminal_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point next_;
};

}  // namespace coppice::cli
