#include "cli/progress_line.h"

#include <unistd.h>

#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

constexpr std::chrono::milliseconds kInterval{200};
constexpr const char* kWipe = "\r\x1b[K";

}  // namespace

ProgressLine::ProgressLine(std::ostream& err) : err_(err), terminal_(isatty(STDERR_FILENO) == 1) {}

ProgressLine::~ProgressLine() {
  if (shown_) err_ << kWipe << std::flush;
}

std::function<void(std::uint64_t, std::uint64_t)> ProgressLine::hook() {
  if (!terminal_) return {};
  return [this](std::uint64_t done_bytes, std::uint64_t total_bytes) { show(done_bytes, total_bytes); };
}

void ProgressLine::show(std::uint64_t done_bytes, std::uint64_t total_bytes) {
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return;
  next_ = now + kInterval;
  shown_ = true;
  err_ << kWipe << format_size(done_bytes);
  if (total_bytes != 0) {
    const auto percent =
        static_cast<unsigned>(static_cast<double>(done_bytes) * 100 / static_cast<double>(total_bytes));
    err_ << " of " << format_size(total_bytes) << " (" << percent << "%)";
  }
  err_ << std::flush;
}

}  // namespace coppice::cli
