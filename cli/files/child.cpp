#include "cli/files/child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "cli/interrupt.h"

namespace coppice::cli {
namespace {

constexpr int kNotStarted = 127;
constexpr int kBySignal = 128;

// In the child, behind fork: nothing here allocates.
[[noreturn]] void become(char* const* words, const ChildStreams& streams, int nothing) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  dup2(streams.input >= 0 ? streams.input : nothing, STDIN_FILENO);
  if (streams.output >= 0) dup2(streams.output, STDOUT_FILENO);
  for (const int kept : streams.kept) fcntl(kept, F_SETFD, 0);
  execvp(words[0], words);
  _exit(kNotStarted);
}

}  // namespace

bool is_installed(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "/usr/bin:/bin" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (access(fmt::format("{}/{}", folder, program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

bool is_root() {
  std::uint64_t inside = 1;
  std::uint64_t outside = 1;
  std::ifstream("/proc/self/uid_map") >> inside >> outside;
  return geteuid() == 0 && inside == 0 && outside == 0;
}

Outcome<pid_t> start_child(const std::vector<std::string>& words, const ChildStreams& streams) {
  if (!is_installed(words.front()))
    return refuse(ErrorKind::kUnsupported, words.front() + " is not installed");
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (const auto& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const UniqueFd nothing(open("/dev/null", O_RDWR | O_CLOEXEC));
  const pid_t child = fork();
  if (child < 0) return refuse(ErrorKind::kIo, std::string("fork: ") + std::strerror(errno));
  if (child == 0) become(arguments.data(), streams, nothing.get());
  return child;
}

int wait_for_child(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    if (interrupted()) kill(child, SIGTERM);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : kBySignal + WTERMSIG(status);
}

}  // namespace coppice::cli
