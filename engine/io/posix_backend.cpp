// The backend without io_uring: files on a few threads, everything else when ppoll(2) finds it ready.
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "io/backend.h"
#include "io/posix_calls.h"
#include "io/workers.h"

namespace coppice {

namespace {

// As many requests as a device is given at once. Threads that wait cost nothing; with 4 of them QD128 reads
// went at 0.28 of io_uring's speed, with 16 at 0.72.
constexpr unsigned kFileThreads = 16;

class PosixBackend final : public Backend {
 public:
  explicit PosixBackend(int wake_descriptor)
      : wake_descriptor_(wake_descriptor),
        files_(
            {.name = "coppice-io", .threads = kFileThreads},
            [](SystemCall& call) { call.result = perform_blocking(call); }, wake_descriptor) {}
  PosixBackend(const PosixBackend&) = delete;
  PosixBackend& operator=(const PosixBackend&) = delete;
  ~PosixBackend() override { close(wake_descriptor_); }

  void submit(SystemCall& call) override {
    if (blocks_on_device(call)) {
      files_.submit(call);
    } else if (!tries_at_once(call) || !try_call(call)) {
      waiting_.push_back(&call);
    }
  }

  void turn(std::optional<std::chrono::nanoseconds> limit) override {
    wait(done_.empty() ? limit : std::chrono::nanoseconds{0});
    if (polls_.back().revents != 0) take_from_threads();
    try_ready();
    // What runs may submit, and so add to done_: that is for the next turn.
    running_.swap(done_);
    for (SystemCall* call : running_) call->complete(*call);
    running_.clear();
  }

 private:
  // Mostly there is room to send, and often something to receive. What only poll(2) can tell is not tried.
  static bool tries_at_once(const SystemCall& call) {
    return call.kind == SystemCall::Kind::kReceive || call.kind == SystemCall::Kind::kSend ||
           call.kind == SystemCall::Kind::kSendMessage;
  }

  bool try_call(SystemCall& call) {
    const std::int32_t result = perform_ready(call);
    if (result == -EAGAIN) return false;
    call.result = result;
    done_.push_back(&call);
    return true;
  }

  // One entry for each waiting call, in the same order, and the threads' at the end.
  void wait(std::optional<std::chrono::nanoseconds> limit) {
    polls_.clear();
    for (const SystemCall* call : waiting_) polls_.push_back({call->descriptor, events_before(*call), 0});
    polls_.push_back({wake_descriptor_, POLLIN, 0});
    timespec left{};
    if (limit) left = {limit->count() / 1'000'000'000, limit->count() % 1'000'000'000};
    // After a signal nothing is ready, and the next turn looks again.
    if (ppoll(polls_.data(), polls_.size(), limit ? &left : nullptr, nullptr) < 0)
      for (pollfd& poll : polls_) poll.revents = 0;
  }

  void try_ready() {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < waiting_.size(); ++i)
      if (polls_[i].revents == 0 || !finish(*waiting_[i], polls_[i].revents)) waiting_[kept++] = waiting_[i];
    waiting_.resize(kept);
  }

  bool finish(SystemCall& call, short events) {
    const bool closed = (events & POLLNVAL) != 0;
    if (!closed && call.kind != SystemCall::Kind::kPoll) {
      if (try_call(call)) return true;
      // A Unix listener that was shut down asks to be tried again for ever.
      if (call.kind != SystemCall::Kind::kAccept || (events & POLLHUP) == 0) return false;
      call.result = -EINVAL;
    } else {
      call.result = closed ? -EBADF : events;
    }
    done_.push_back(&call);
    return true;
  }

  void take_from_threads() {
    std::uint64_t count = 0;
    if (read(wake_descriptor_, &count, sizeof count) < 0) return;
    files_.take_finished(from_threads_);
    done_.insert(done_.end(), from_threads_.begin(), from_threads_.end());
    from_threads_.clear();
  }

  int wake_descriptor_;
  std::vector<SystemCall*> waiting_;
  std::vector<pollfd> polls_;
  std::vector<SystemCall*> from_threads_;
  std::vector<SystemCall*> done_;
  std::vector<SystemCall*> running_;
  Workers<SystemCall> files_;  // last: it ends first
};

}  // namespace

Result<std::unique_ptr<Backend>> make_posix_backend() {
  const int wake_descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_descriptor < 0) return fail(ErrorKind::kIo, errno, "eventfd failed");
  return std::make_unique<PosixBackend>(wake_descriptor);
}

}  // namespace coppice
