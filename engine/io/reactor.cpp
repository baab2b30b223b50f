#include "coppice/reactor.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <queue>
#include <vector>

#include "io/backend.h"
#include "io/workers.h"

namespace coppice {

namespace {

// The guest's requests come first on a small machine.
constexpr int kBackgroundNiceness = 10;

std::chrono::nanoseconds monotonic_now() {
  return std::chrono::steady_clock::now().time_since_epoch();
}

struct Deadline {
  std::chrono::nanoseconds at;
  std::uint64_t order;
  std::coroutine_handle<> waiter;
  bool operator>(const Deadline& other) const { return at != other.at ? at > other.at : order > other.order; }
};

}  // namespace

struct Reactor::State {
  std::unique_ptr<Backend> backend;
  std::vector<std::coroutine_handle<>> ready;
  std::vector<std::coroutine_handle<>> running;
  std::priority_queue<Deadline, std::vector<Deadline>, std::greater<>> deadlines;
  std::uint64_t timer_order = 0;
  // One read of the eventfd is always pending, so that a finished background job ends the wait.
  struct Wake : SystemCall {
    State* state = nullptr;
    std::uint64_t count = 0;
  } wake;
  std::vector<BackgroundJob*> finished;
  std::unique_ptr<Workers<BackgroundJob>> background;

  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    background.reset();
    backend.reset();  // before the memory of what it has pending
    if (wake.descriptor >= 0) close(wake.descriptor);
  }

  Result<> start() {
    wake.kind = SystemCall::Kind::kRead;
    wake.descriptor = eventfd(0, EFD_CLOEXEC);
    if (wake.descriptor < 0) return fail(ErrorKind::kIo, errno, "eventfd failed");
    wake.address = &wake.count;
    wake.length = sizeof wake.count;
    wake.offset = kStreamPosition;
    wake.state = this;
    wake.complete = [](SystemCall& call) { static_cast<Wake&>(call).state->finish_background(); };
    backend->submit(wake);
    background = std::make_unique<Workers<BackgroundJob>>(
        Workers<BackgroundJob>::Options{.name = "coppice-bg", .threads = 1, .niceness = kBackgroundNiceness},
        [](BackgroundJob& job) { job.run(); }, wake.descriptor);
    return {};
  }

  void finish_background() {
    backend->submit(wake);
    background->take_finished(finished);
    for (const BackgroundJob* job : finished) ready.push_back(job->waiter);
    finished.clear();
  }

  // What is posted meanwhile is for the next turn, behind what has completed until then.
  void run_ready() {
    running.swap(ready);
    for (const std::coroutine_handle<> handle : running) handle.resume();
    running.clear();
  }

  [[nodiscard]] std::optional<std::chrono::nanoseconds> longest_wait() const {
    if (!ready.empty()) return std::chrono::nanoseconds{0};
    if (deadlines.empty()) return std::nullopt;
    return std::max(std::chrono::nanoseconds{0}, deadlines.top().at - monotonic_now());
  }

  void run_deadlines() {
    if (deadlines.empty()) return;
    const auto now = monotonic_now();
    while (!deadlines.empty() && deadlines.top().at <= now) {
      ready.push_back(deadlines.top().waiter);
      deadlines.pop();
    }
  }
};

Reactor::Reactor() : state_(std::make_unique<State>()) {}

Reactor::~Reactor() = default;

Result<std::unique_ptr<Reactor>> Reactor::create(const std::function<void(const std::string&)>& notice) {
  std::unique_ptr<Reactor> reactor(new Reactor());
  auto backend = choose_backend(notice);
  if (!backend) return std::unexpected(backend.error());
  reactor->state_->backend = std::move(*backend);
  if (auto started = reactor->state_->start(); !started) return std::unexpected(started.error());
  return reactor;
}

void Reactor::post(std::coroutine_handle<> handle) {
  state_->ready.push_back(handle);
}

void Reactor::start_timer(TimerRequest& request) {
  state_->deadlines.push({monotonic_now() + request.delay, state_->timer_order++, request.waiter});
}

void Reactor::offload(BackgroundJob& job) {
  state_->background->submit(job);
}

std::chrono::nanoseconds Reactor::now() {
  return monotonic_now();
}

void Reactor::submit(SystemCall& call) {
  state_->backend->submit(call);
}

void Reactor::know_file(int descriptor) {
  state_->backend->know_file(descriptor);
}

void Reactor::forget_file(int descriptor) {
  state_->backend->forget_file(descriptor);
}

void Reactor::run_until(const bool& done) {
  while (!done) {
    state_->run_ready();
    if (done) break;
    state_->backend->turn(state_->longest_wait());
    state_->run_deadlines();
  }
}

void Reactor::Awaiter::await_suspend(std::coroutine_handle<> handle) {
  call_.waiter = handle;
  call_.complete = [](SystemCall& call) { call.waiter.resume(); };
  reactor_.submit(call_);
}

namespace {

SystemCall call_of(SystemCall::Kind kind, int descriptor, const void* address = nullptr,
                   std::uint64_t length = 0, std::uint64_t offset = 0) {
  SystemCall call;
  call.kind = kind;
  call.descriptor = descriptor;
  call.address = const_cast<void*>(address);
  call.length = length;
  call.offset = offset;
  return call;
}

}  // namespace

Reactor::Awaiter Reactor::receive(int socket, std::span<std::byte> into) {
  return {*this, call_of(SystemCall::Kind::kReceive, socket, into.data(), into.size())};
}
Reactor::Awaiter Reactor::send(int socket, std::span<const std::byte> from) {
  return {*this, call_of(SystemCall::Kind::kSend, socket, from.data(), from.size())};
}
Reactor::Awaiter Reactor::send_message(int socket, const msghdr& message) {
  return {*this, call_of(SystemCall::Kind::kSendMessage, socket, &message)};
}
Reactor::Awaiter Reactor::accept(int listener) {
  return {*this, call_of(SystemCall::Kind::kAccept, listener)};
}
Reactor::Awaiter Reactor::poll(int descriptor, unsigned events) {
  SystemCall call = call_of(SystemCall::Kind::kPoll, descriptor);
  call.flags = static_cast<int>(events);
  return {*this, call};
}
Reactor::Awaiter Reactor::read(int descriptor, std::span<std::byte> into, std::uint64_t offset_bytes) {
  return {*this, call_of(SystemCall::Kind::kRead, descriptor, into.data(), into.size(), offset_bytes)};
}
Reactor::Awaiter Reactor::write(int descriptor, std::span<const std::byte> from, std::uint64_t offset_bytes) {
  return {*this, call_of(SystemCall::Kind::kWrite, descriptor, from.data(), from.size(), offset_bytes)};
}

}  // namespace coppice
