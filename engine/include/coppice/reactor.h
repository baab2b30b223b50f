// Reactor: one thread, its coroutines, and the system calls that they await: files, sockets, timers.
//
// The calls are made by io_uring; where that is forbidden, as some container runtimes do, or with
// COPPICE_IO=posix in the environment, by ppoll and a few threads. All members are used on the thread that
// made it. A niced thread runs background jobs.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "coppice/result.h"
#include "coppice/scheduler.h"
#include "coppice/task.h"

namespace coppice {

// As an offset of a read or write: at the file's own position, for pipes and whatever else has no other.
inline constexpr std::uint64_t kStreamPosition = UINT64_MAX;

// One call to the system. Lives in the awaiting coroutine's frame, and stays where it is until it completes.
struct SystemCall {
  enum class Kind : std::uint8_t {
    kRead,
    kWrite,
    kSync,      // fdatasync
    kAllocate,  // fallocate with `flags`
    kReceive,
    kSend,
    kSendMessage,  // `address` is the msghdr's
    kAccept,
    kPoll,  // for the events in `flags`
  };
  Kind kind = Kind::kRead;
  // Many wait for it: it starts at once, and is completed before what is done at the same time.
  bool urgent = false;
  int flags = 0;
  int descriptor = -1;
  std::int32_t result = 0;  // what the call returned, or -errno
  void* address = nullptr;
  std::uint64_t length = 0;
  std::uint64_t offset = 0;
  // Called on the reactor's thread when the call is done.
  void (*complete)(SystemCall&) = nullptr;
  std::coroutine_handle<> waiter;
};

class Reactor final : public Scheduler {
 public:
  // `notice` is told if io_uring is not to be had.
  static Result<std::unique_ptr<Reactor>> create(const std::function<void(const std::string&)>& notice = {});
  ~Reactor() override;

  void post(std::coroutine_handle<> handle) override;
  void start_timer(TimerRequest& request) override;
  void offload(BackgroundJob& job) override;
  std::chrono::nanoseconds now() override;

  // Runs the loop until `task` is done and returns its value. Not reentrant.
  template <class T>
  T run(Task<T> task);

  // Awaitable requests; each yields bytes or -errno as the system call would. Spans and iovecs outlive the
  // wait. A socket's pending requests end when the socket is shut down.
  class Awaiter;
  Awaiter receive(int socket, std::span<std::byte> into);
  Awaiter send(int socket, std::span<const std::byte> from);
  Awaiter send_message(int socket, const msghdr& message);
  Awaiter accept(int listener);
  Awaiter poll(int descriptor, unsigned events);
  // Streams take kStreamPosition as their offset.
  Awaiter read(int descriptor, std::span<std::byte> into, std::uint64_t offset_bytes);
  Awaiter write(int descriptor, std::span<const std::byte> from, std::uint64_t offset_bytes);

  // Completes from the loop, never before this returns.
  void submit(SystemCall& call);
  // A descriptor with many calls to come is looked up once and not with each. forget_file() comes before
  // close().
  void know_file(int descriptor);
  void forget_file(int descriptor);

 private:
  Reactor();
  void run_until(const bool& done);
  struct State;
  std::unique_ptr<State> state_;
};

class Reactor::Awaiter {
 public:
  Awaiter(Reactor& reactor, const SystemCall& call) : reactor_(reactor), call_(call) {}
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle);
  [[nodiscard]] std::int32_t await_resume() const noexcept { return call_.result; }

 private:
  Reactor& reactor_;
  SystemCall call_;
};

template <class T>
T Reactor::run(Task<T> task) {
  bool done = false;
  if constexpr (std::is_void_v<T>) {
    spawn([](Task<T> inner, bool& flag) -> Task<void> {
      co_await inner;
      flag = true;
    }(std::move(task), done));
    run_until(done);
  } else {
    std::optional<T> value;
    spawn([](Task<T> inner, std::optional<T>& slot, bool& flag) -> Task<void> {
      slot.emplace(co_await inner);
      flag = true;
    }(std::move(task), value, done));
    run_until(done);
    return std::move(*value);
  }
}

}  // namespace coppice
