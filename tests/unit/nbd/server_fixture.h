// A server of disks in memory on a thread of its own, as a client finds it.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <thread>

#include "memory_exports.h"
#include "nbd/server.h"
#include "raw_client.h"

namespace coppice::test {

// A folder that is gone afterwards.
class TemporaryFolder {
 public:
  TemporaryFolder() { REQUIRE(::mkdtemp(path_) != nullptr); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    for (const auto& file : files_) ::unlink(file.c_str());
    ::rmdir(path_);
  }
  std::string file(const std::string& name) {
    files_.push_back(std::string(path_) + "/" + name);
    return files_.back();
  }

 private:
  char path_[32] = "/tmp/nbd-test-XXXXXX";
  std::vector<std::string> files_;
};

class ServerFixture {
 public:
  static constexpr std::uint64_t kDiskBytes = (std::uint64_t{64} << 20) + 512;

  explicit ServerFixture(nbd::ServerOptions options = {}, std::optional<nbd::TlsMode> tls = {})
      : path_(folder_.file("socket")),
        control_(::eventfd(0, EFD_CLOEXEC)),
        options_(std::move(options)),
        tls_(tls) {
    options_.log = [this](const std::string& line) {
      const std::lock_guard lock(mutex_);
      log_ += line + "\n";
    };
    std::promise<void> ready;
    auto is_ready = ready.get_future();
    thread_ = std::thread([this, &ready] { run_thread(ready); });
    is_ready.wait();
  }
  ServerFixture(const ServerFixture&) = delete;
  ServerFixture& operator=(const ServerFixture&) = delete;
  ~ServerFixture() {
    stop();
    ::close(control_);
  }

  // Returns when the server has stopped.
  void stop() {
    begin_stop();
    if (thread_.joinable()) thread_.join();
  }
  void begin_stop() {
    if (!stopping_.exchange(true)) signal();
  }
  // Runs `work` on the server's thread, and waits for it.
  void on_server(std::function<void()> work) {
    std::packaged_task<void()> task(std::move(work));
    auto done = task.get_future();
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    signal();
    done.wait();
  }

  [[nodiscard]] const std::string& path() const { return path_; }
  MemoryDisk& disk() { return *disk_; }
  std::string log() {
    const std::lock_guard lock(mutex_);
    return log_;
  }
  std::string last_holder() {
    std::string holder;
    on_server([&] { holder = exports_.last_holder; });
    return holder;
  }
  // What the snapshot `disk@snap` has as changes since.
  void set_changes(std::vector<DiffRange> changes) {
    on_server([&] { exports_.changed["disk@snap"] = std::move(changes); });
  }
  unsigned asked_for_changes() {
    unsigned count = 0;
    on_server([&] { count = exports_.asked_for_changes; });
    return count;
  }
  int attached_to_snapshot() {
    int count = 0;
    on_server([&] { count = snapshot_->attached; });
    return count;
  }
  std::size_t connections() {
    std::size_t count = 0;
    on_server([&] { count = server_->connections(); });
    return count;
  }
  void close_gate() {
    on_server([this] { disk_->close_gate(); });
  }
  void open_gate() {
    on_server([this] { disk_->open_gate(); });
  }
  void fail_with(std::optional<Error> failure) {
    on_server([this, failure] { disk_->failure = failure; });
  }
  Bytes content(std::uint64_t offset, std::uint64_t length) {
    Bytes bytes;
    on_server([&] {
      const auto part = disk_->part(offset, length);
      bytes.assign(part.begin(), part.end());
    });
    return bytes;
  }

 private:
  void signal() const {
    const std::uint64_t one = 1;
    if (::write(control_, &one, sizeof(one)) != sizeof(one)) std::abort();
  }

  void run_thread(std::promise<void>& ready) {
    auto reactor = Reactor::create();
    if (!reactor) std::abort();
    disk_ = &exports_.add(**reactor, "disk", kDiskBytes);
    snapshot_ = &exports_.add(**reactor, "disk@snap", 1 << 20);
    (*reactor)->run(serve(**reactor, ready));
  }

  Task<void> serve(Reactor& reactor, std::promise<void>& ready) {
    nbd::Server server(reactor, exports_, options_);
    server_ = &server;
    if (!server.listen({.endpoint = nbd::UnixEndpoint{path_}, .tls = tls_})) std::abort();
    server.start();
    ready.set_value();
    while (!stopping_) {
      std::uint64_t count = 0;
      const auto into = std::as_writable_bytes(std::span(&count, 1));
      const std::int32_t woken = co_await reactor.read(control_, into, UINT64_MAX);
      if (woken < 0) std::abort();
      run_tasks();
    }
    bool stopped = false;
    spawn(serve_tasks_while_stopping(reactor, stopped));
    co_await server.stop();
    stopped = true;
    signal();
    co_await tasks_ended_;
  }

  // A stop may wait for a gate that the test is yet to open.
  Task<void> serve_tasks_while_stopping(Reactor& reactor, const bool& stopped) {
    while (!stopped) {
      std::uint64_t count = 0;
      const auto into = std::as_writable_bytes(std::span(&count, 1));
      const std::int32_t woken = co_await reactor.read(control_, into, UINT64_MAX);
      if (woken < 0) std::abort();
      run_tasks();
    }
    tasks_ended_.arrive();
  }

  void run_tasks() {
    while (true) {
      std::packaged_task<void()> task;
      {
        const std::lock_guard lock(mutex_);
        if (tasks_.empty()) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }

  TemporaryFolder folder_;
  std::string path_;
  int control_;
  nbd::ServerOptions options_;
  std::optional<nbd::TlsMode> tls_;
  MemoryExports exports_;
  MemoryDisk* disk_ = nullptr;
  MemoryDisk* snapshot_ = nullptr;
  nbd::Server* server_ = nullptr;
  std::atomic<bool> stopping_{false};
  Latch tasks_ended_{1};
  std::mutex mutex_;
  std::deque<std::packaged_task<void()>> tasks_;
  std::string log_;
  std::thread thread_;
};

// Waits for something that the server does soon after.
template <class Condition>
bool eventually(Condition condition) {
  for (int attempt = 0; attempt < 6000; ++attempt) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

}  // namespace coppice::test
