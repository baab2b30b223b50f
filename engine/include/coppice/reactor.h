// Reactor: one thread, one io_uring, its coroutines. Files and sockets are awaited here.
//
// All members are used on the thread that made it. A second, niced thread runs background jobs.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include "coppice/result.h"
#include "coppice/scheduler.h"
#include "coppice/task.h"

namespace coppice {

// One request to the ring. Lives in the awaiting coroutine's frame.
struct RingOperation {
  std::int32_t result = 0;  // bytes, or -errno
  // Called on the reactor's thread when the kernel is done.
  void (*complete)(RingOperation&) = nullptr;
  std::coroutine_handle<> waiter;
};

class Reactor final : public Scheduler {
 public:
  static Result<std::unique_ptr<Reactor>> create();
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
  // offset_bytes = UINT64_MAX reads at the file's own position (streams).
  Awaiter read(int descriptor, std::span<std::byte> into, std::uint64_t offset_bytes);
  Awaiter write(int descriptor, std::span<const std::byte> from, std::uint64_t offset_bytes);

  // For the engine's io room: the ring behind all this.
  struct Ring;
  Ring& ring() { return *ring_; }

 private:
  Reactor();
  void run_until(const bool& done);
  std::unique_ptr<Ring> ring_;
};

class Reactor::Awaiter {
 public:
  enum class Kind : std::uint8_t { kReceive, kSend, kSendMessage, kAccept, kPoll, kRead, kWrite };
  Awaiter(Reactor& reactor, Kind kind, int descriptor, const void* address, std::uint64_t length,
          std::uint64_t offset)
      : reactor_(reactor),
        kind_(kind),
        descriptor_(descriptor),
        address_(address),
        length_(length),
        offset_(offset) {}
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle);
  [[nodiscard]] std::int32_t await_resume() const noexcept { return operation_.result; }

 private:
  Reactor& reactor_;
  Kind kind_;
  int descriptor_;
  const void* address_;
  std::uint64_t length_;
  std::uint64_t offset_;
  RingOperation operation_;
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
