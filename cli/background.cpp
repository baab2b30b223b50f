#include "cli/background.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "cli/unique_fd.h"

namespace coppice::cli {
namespace {

constexpr mode_t kLogMode = 0600;
constexpr char kDone = '+';
constexpr char kFailed = '-';

std::unexpected<Failure> system_failure(const char* what) {
  return refuse(ErrorKind::kIo, std::string(what) + ": " + std::strerror(errno));
}

void tell(int pipe, char what, const std::string& text) {
  const std::string message = what + text;
  static_cast<void>(!write(pipe, message.data(), message.size()));
}

// A log that can't be written is no reason to stop.
void leave_terminal(const std::string& log) {
  const UniqueFd nothing(open("/dev/null", O_RDWR | O_CLOEXEC));
  const UniqueFd file(open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, kLogMode));
  dup2(nothing.get(), STDIN_FILENO);
  dup2(nothing.get(), STDOUT_FILENO);
  dup2(file.valid() ? file.get() : nothing.get(), STDERR_FILENO);
}

[[noreturn]] void work_on(UniqueFd pipe, const std::string& log,
                          const std::function<Outcome<>(const Ready&)>& work) {
  setsid();
  static_cast<void>(!chdir("/"));  // keeps no file system from being unmounted
  const Ready ready = [&](const std::string& text) {
    leave_terminal(log);
    tell(pipe.get(), kDone, text);
    pipe.reset();
  };
  const Outcome<> outcome = work(ready);
  if (!outcome && pipe.valid()) tell(pipe.get(), kFailed, outcome.error().message);
  std::_Exit(outcome ? 0 : 2);
}

std::string read_all(const UniqueFd& pipe) {
  std::string text;
  std::array<char, 4096> piece{};
  while (true) {
    const ssize_t got = read(pipe.get(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    text.append(piece.data(), static_cast<std::size_t>(got));
  }
}

}  // namespace

Outcome<std::string> run_in_background(const std::string& log,
                                       const std::function<Outcome<>(const Ready&)>& work) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return system_failure("pipe");
  UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  const pid_t child = fork();
  if (child < 0) return system_failure("fork");
  if (child == 0) {
    ours.reset();
    work_on(std::move(theirs), log, work);
  }
  theirs.reset();
  const std::string message = read_all(ours);
  if (!message.empty() && message.front() == kDone) return message.substr(1);
  waitpid(child, nullptr, 0);
  if (!message.empty()) return refuse(ErrorKind::kIo, message.substr(1));
  return refuse(ErrorKind::kIo, "the process in the background ended before it was ready");
}

}  // namespace coppice::cli
