#include "cli/event_hook.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <vector>

namespace coppice::cli {
namespace {

constexpr std::size_t kMostWaiting = 16;
constexpr std::chrono::milliseconds kLook{50};
constexpr int kLongestLooks = 600;  // half a minute

// Its own signals, nothing to read, and its output where the daemon's messages go.
class SpawnSetup {
 public:
  SpawnSetup() {
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
  }
  ~SpawnSetup() {
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
  }
  SpawnSetup(const SpawnSetup&) = delete;
  SpawnSetup& operator=(const SpawnSetup&) = delete;
  posix_spawnattr_t attributes{};
  posix_spawn_file_actions_t files{};
};

std::vector<std::string> environment_of(const Event& event, const std::string& store) {
  std::vector<std::string> all{"COPPICE_EVENT=" + event.name, "COPPICE_STORE=" + store};
  for (const auto& [name, value] : event.details) all.push_back(fmt::format("{}={}", name, value));
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (std::strncmp(*entry, "COPPICE_", std::strlen("COPPICE_")) != 0) all.emplace_back(*entry);
  }
  return all;
}

}  // namespace

EventHook::EventHook(std::string command, std::string store)
    : command_(std::move(command)), store_(std::move(store)) {
  if (!command_.empty()) thread_ = std::thread([this] { work(); });
}

EventHook::~EventHook() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void EventHook::fire(Event event) {
  if (command_.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() == kMostWaiting) waiting_.pop_front();
    waiting_.push_back(std::move(event));
  }
  changed_.notify_all();
}

void EventHook::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
    if (ending_) return;
    const Event event = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    run(event);
    lock.lock();
  }
}

void EventHook::run(const Event& event) {
  const SpawnSetup setup;
  std::vector<std::string> environment = environment_of(event, store_);
  std::vector<char*> pointers;
  for (std::string& entry : environment) pointers.push_back(entry.data());
  pointers.push_back(nullptr);
  std::string shell = "/bin/sh";
  std::string option = "-c";
  std::string command = command_;
  char* arguments[] = {shell.data(), option.data(), command.data(), nullptr};
  pid_t pid = 0;
  const int error =
      posix_spawn(&pid, shell.c_str(), &setup.files, &setup.attributes, arguments, pointers.data());
  if (error != 0) {
    spdlog::warn("the command for events can't be started: {}", std::strerror(error));
  } else if (!wait_for(pid)) {
    spdlog::warn("the command for events failed, or took longer than half a minute: '{}' for {}", command_,
                 event.name);
  }
}

bool EventHook::wait_for(int pid) {
  int status = 0;
  for (int looks = 0; looks < kLongestLooks; ++looks) {
    const pid_t ended = waitpid(pid, &status, WNOHANG);
    if (ended == pid) return WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (pause()) return true;
  }
  kill(pid, SIGKILL);
  waitpid(pid, &status, 0);
  return false;
}

bool EventHook::pause() {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kLook, [this] { return ending_; });
}

}  // namespace coppice::cli
