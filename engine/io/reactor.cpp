#include "coppice/reactor.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "io/ring.h"

namespace coppice {

namespace {

constexpr unsigned kRingEntries = 1024;
constexpr unsigned kBackgroundNice = 10;

std::chrono::nanoseconds monotonic_now() {
  return std::chrono::steady_clock::now().time_since_epoch();
}

}  // namespace

BackgroundThread::BackgroundThread(int wake_descriptor)
    : wake_descriptor_(wake_descriptor), thread_([this] { loop(); }) {
  pthread_setname_np(thread_.native_handle(), "coppice-bg");
}

BackgroundThread::~BackgroundThread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void BackgroundThread::submit(BackgroundJob& job) {
  {
    const std::lock_guard lock(mutex_);
    queued_.push_back(&job);
  }
  wake_.notify_one();
}

void BackgroundThread::take_finished(std::vector<std::coroutine_handle<>>& into) {
  const std::lock_guard lock(mutex_);
  into.swap(finished_);
}

void BackgroundThread::loop() {
  // Niceness is per thread on Linux: the guest's requests come first on a small machine.
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kBackgroundNice);
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !queued_.empty(); });
    if (queued_.empty()) return;
    BackgroundJob* job = queued_.front();
    queued_.pop_front();
    lock.unlock();
    job->run();
    lock.lock();
    finished_.push_back(job->waiter);
    const std::uint64_t one = 1;
    if (write(wake_descriptor_, &one, sizeof one) != sizeof one) std::abort();
  }
}

io_uring_sqe* Reactor::Ring::next_entry() {
  io_uring_sqe* entry = io_uring_get_sqe(&uring);
  while (entry == nullptr) {
    io_uring_submit(&uring);
    entry = io_uring_get_sqe(&uring);
  }
  return entry;
}

Reactor::Reactor() : ring_(std::make_unique<Ring>()) {}

Reactor::~Reactor() {
  ring_->background.reset();
  if (ring_->uring.ring_fd > 0) io_uring_queue_exit(&ring_->uring);
  if (ring_->wake_descriptor >= 0) close(ring_->wake_descriptor);
}

namespace {

// Keeps one read of the eventfd in the ring, so that a finished background job ends the wait.
void arm_wake(Reactor::Ring& ring) {
  io_uring_sqe* entry = ring.next_entry();
  io_uring_prep_read(entry, ring.wake_descriptor, &ring.wake_value, sizeof ring.wake_value, 0);
  io_uring_sqe_set_data(entry, &ring.wake_operation);
}

}  // namespace

Result<std::unique_ptr<Reactor>> Reactor::create() {
  std::unique_ptr<Reactor> reactor(new Reactor());
  Ring& ring = *reactor->ring_;
  io_uring_params parameters{};
  parameters.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE;
  parameters.cq_entries = kRingEntries * 8;
  const int error = io_uring_queue_init_params(kRingEntries, &ring.uring, &parameters);
  if (error < 0) {
    ring.uring.ring_fd = -1;
    return fail(ErrorKind::kUnsupported, -error,
                "io_uring is not to be had (needs Linux 6.1, and a container runtime that allows it)");
  }
  ring.wake_descriptor = eventfd(0, EFD_CLOEXEC);
  if (ring.wake_descriptor < 0) return fail(ErrorKind::kIo, errno, "eventfd failed");
  ring.wake_operation.complete = nullptr;
  arm_wake(ring);
  ring.background = std::make_unique<BackgroundThread>(ring.wake_descriptor);
  return reactor;
}

void Reactor::post(std::coroutine_handle<> handle) {
  ring_->ready.push_back(handle);
}

void Reactor::start_timer(TimerRequest& request) {
  ring_->deadlines.push({monotonic_now() + request.delay, ring_->timer_order++, request.waiter});
}

void Reactor::offload(BackgroundJob& job) {
  ring_->background->submit(job);
}

std::chrono::nanoseconds Reactor::now() {
  return monotonic_now();
}

namespace {

void run_ready(Reactor::Ring& ring) {
  ring.running.clear();
  ring.running.swap(ring.ready);
  for (const std::coroutine_handle<> handle : ring.running) handle.resume();
}

// Submits what is queued; waits for a completion unless something is ready to run.
void submit_and_wait(Reactor::Ring& ring) {
  if (!ring.ready.empty()) {
    io_uring_submit_and_get_events(&ring.uring);
    return;
  }
  io_uring_cqe* completion = nullptr;
  if (ring.deadlines.empty()) {
    io_uring_submit_and_wait(&ring.uring, 1);
    return;
  }
  const auto left = std::max(std::chrono::nanoseconds{0}, ring.deadlines.top().at - monotonic_now());
  __kernel_timespec limit{left.count() / 1'000'000'000, left.count() % 1'000'000'000};
  io_uring_submit_and_wait_timeout(&ring.uring, &completion, 1, &limit, nullptr);
}

void finish_background(Reactor::Ring& ring) {
  arm_wake(ring);
  ring.finished.clear();
  ring.background->take_finished(ring.finished);
  for (const std::coroutine_handle<> handle : ring.finished) ring.ready.push_back(handle);
}

void run_completions(Reactor::Ring& ring) {
  // Copied out and consumed before anything runs: what runs may submit, and wait in a full queue.
  constexpr unsigned kBatch = 256;
  std::array<io_uring_cqe*, kBatch> completions{};
  std::array<RingOperation*, kBatch> operations{};
  const unsigned count = io_uring_peek_batch_cqe(&ring.uring, completions.data(), kBatch);
  for (unsigned i = 0; i < count; ++i) {
    auto* operation = static_cast<RingOperation*>(io_uring_cqe_get_data(completions[i]));
    operation->result = completions[i]->res;
    operations[i] = operation;
  }
  io_uring_cq_advance(&ring.uring, count);
  for (unsigned i = 0; i < count; ++i) {
    RingOperation* operation = operations[i];
    if (operation == &ring.wake_operation) {
      finish_background(ring);
    } else {
      operation->complete(*operation);
    }
  }
}

void run_deadlines(Reactor::Ring& ring) {
  if (ring.deadlines.empty()) return;
  const auto now = monotonic_now();
  while (!ring.deadlines.empty() && ring.deadlines.top().at <= now) {
    ring.ready.push_back(ring.deadlines.top().waiter);
    ring.deadlines.pop();
  }
}

}  // namespace

void Reactor::run_until(const bool& done) {
  while (!done) {
    run_ready(*ring_);
    if (done) break;
    submit_and_wait(*ring_);
    run_completions(*ring_);
    run_deadlines(*ring_);
  }
}

void Reactor::Awaiter::await_suspend(std::coroutine_handle<> handle) {
  operation_.waiter = handle;
  operation_.complete = [](RingOperation& operation) { operation.waiter.resume(); };
  io_uring_sqe* entry = reactor_.ring().next_entry();
  auto* memory = const_cast<void*>(address_);
  const auto length = static_cast<unsigned>(length_);
  switch (kind_) {
    case Kind::kReceive:
      io_uring_prep_recv(entry, descriptor_, memory, length_, 0);
      break;
    case Kind::kSend:
      io_uring_prep_send(entry, descriptor_, address_, length_, MSG_NOSIGNAL);
      break;
    case Kind::kSendMessage:
      io_uring_prep_sendmsg(entry, descriptor_, static_cast<const msghdr*>(address_), MSG_NOSIGNAL);
      break;
    case Kind::kAccept:
      io_uring_prep_accept(entry, descriptor_, nullptr, nullptr, SOCK_CLOEXEC);
      break;
    case Kind::kPoll:
      io_uring_prep_poll_add(entry, descriptor_, static_cast<unsigned>(offset_));
      break;
    case Kind::kRead:
      io_uring_prep_read(entry, descriptor_, memory, length, offset_);
      break;
    case Kind::kWrite:
      io_uring_prep_write(entry, descriptor_, address_, length, offset_);
      break;
  }
  io_uring_sqe_set_data(entry, &operation_);
}

Reactor::Awaiter Reactor::receive(int socket, std::span<std::byte> into) {
  return {*this, Awaiter::Kind::kReceive, socket, into.data(), into.size(), 0};
}
Reactor::Awaiter Reactor::send(int socket, std::span<const std::byte> from) {
  return {*this, Awaiter::Kind::kSend, socket, from.data(), from.size(), 0};
}
Reactor::Awaiter Reactor::send_message(int socket, const msghdr& message) {
  return {*this, Awaiter::Kind::kSendMessage, socket, &message, 0, 0};
}
Reactor::Awaiter Reactor::accept(int listener) {
  return {*this, Awaiter::Kind::kAccept, listener, nullptr, 0, 0};
}
Reactor::Awaiter Reactor::poll(int descriptor, unsigned events) {
  return {*this, Awaiter::Kind::kPoll, descriptor, nullptr, 0, events};
}
Reactor::Awaiter Reactor::read(int descriptor, std::span<std::byte> into, std::uint64_t offset_bytes) {
  return {*this, Awaiter::Kind::kRead, descriptor, into.data(), into.size(), offset_bytes};
}
Reactor::Awaiter Reactor::write(int descriptor, std::span<const std::byte> from, std::uint64_t offset_bytes) {
  return {*this, Awaiter::Kind::kWrite, descriptor, from.data(), from.size(), offset_bytes};
}

}  // namespace coppice
