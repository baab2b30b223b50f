// The backend over io_uring: everything submitted in one turn goes to the kernel in one system call, which
// also waits for and brings the completions.
#include <liburing.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "base/io_memory.h"
#include "io/backend.h"

namespace coppice {

namespace {

constexpr unsigned kRingEntries = 1024;
constexpr unsigned kCompletionsPerTurn = 256;
// While an urgent call is in flight: so often is looked whether it is done.
constexpr unsigned kUrgentCompletionsPerTurn = 4;
// What has completed makes new calls: they start before the rest is looked at when there are this many, or
// this part of what the devices were asked for, so that the device does not run dry meanwhile. Each start
// costs a system call and a doorbell (docs/performance.md, "Starting early"). The kernel merges what
// continues each other, as writes to fresh blocks do, if it comes in one start: such calls count as one, up
// to a larger part.
struct StartRule {
  unsigned least;
  unsigned part;
  unsigned part_merged;
};
// The kernel makes no batch of fewer than three, and rings for each.
constexpr StartRule kStartEarly{.least = 3, .part = 16, .part_merged = 4};
// Where this thread is what all wait for, starts are what it can save: something had come by the time that it
// would have waited, so many times in a row.
constexpr unsigned kTimesBehind = 2;
constexpr StartRule kStartBehind{.least = 16, .part = 4, .part_merged = 2};

// Where one request at a time is made, most of its time is processors that wake up, and what is done about it
// must not take a processor from the kernel's threads, which complete writes and syncs (docs/performance.md,
// "One request at a time"):
// - A sync that is all that is asked of the devices is made by this thread, when what is posted has had a
//   turn. Not where syncs take long, as what comes meanwhile waits for it: behind much that was written it is
//   the kernel's, and says nothing of others; after a long one behind little the next are the kernel's, and
//   fewer again as those made here are quick.
// - While nothing is asked of the devices, and clients have answered soon, the ring is watched for a moment
//   before this thread sleeps.
constexpr std::chrono::microseconds kQuickSync{300};
constexpr std::uint64_t kQuicklySyncedBytes = std::uint64_t{256} << 10;
constexpr unsigned kMostLeftToKernel = 1023;
constexpr std::chrono::microseconds kWatch{50};
constexpr std::chrono::microseconds kSoon{100};  // of one that was slept for

// The area of aligned buffers is registered, as the ring's only buffer, when so many transfers were seen: it
// is all taken into memory then, which is nothing for a command that lists names.
constexpr unsigned kTransfersToRegister = 1024;
constexpr int kAreaIndex = 0;
constexpr unsigned kKnownFiles = 64;

// In contrast to what waits for a client or another thread.
bool asks_device(const SystemCall& call) {
  switch (call.kind) {
    case SystemCall::Kind::kSync:
    case SystemCall::Kind::kAllocate:
      return true;
    case SystemCall::Kind::kRead:
    case SystemCall::Kind::kWrite:
      return call.offset != kStreamPosition;
    default:
      return false;
  }
}

void prepare(io_uring_sqe* entry, const SystemCall& call, bool registered) {
  const auto length = static_cast<unsigned>(call.length);
  switch (call.kind) {
    case SystemCall::Kind::kRead:
      if (registered)
        return io_uring_prep_read_fixed(entry, call.descriptor, call.address, length, call.offset,
                                        kAreaIndex);
      return io_uring_prep_read(entry, call.descriptor, call.address, length, call.offset);
    case SystemCall::Kind::kWrite:
      if (registered)
        return io_uring_prep_write_fixed(entry, call.descriptor, call.address, length, call.offset,
                                         kAreaIndex);
      return io_uring_prep_write(entry, call.descriptor, call.address, length, call.offset);
    case SystemCall::Kind::kSync:
      return io_uring_prep_fsync(entry, call.descriptor, IORING_FSYNC_DATASYNC);
    case SystemCall::Kind::kAllocate:
      return io_uring_prep_fallocate(entry, call.descriptor, call.flags, static_cast<off_t>(call.offset),
                                     static_cast<off_t>(call.length));
    case SystemCall::Kind::kReceive:
      return io_uring_prep_recv(entry, call.descriptor, call.address, call.length, 0);
    case SystemCall::Kind::kSend:
      return io_uring_prep_send(entry, call.descriptor, call.address, call.length, MSG_NOSIGNAL);
    case SystemCall::Kind::kSendMessage:
      return io_uring_prep_sendmsg(entry, call.descriptor, static_cast<const msghdr*>(call.address),
                                   MSG_NOSIGNAL);
    case SystemCall::Kind::kAccept:
      return io_uring_prep_accept(entry, call.descriptor, nullptr, nullptr, SOCK_CLOEXEC);
    case SystemCall::Kind::kPoll:
      return io_uring_prep_poll_add(entry, call.descriptor, static_cast<unsigned>(call.flags));
  }
}

class UringBackend final : public Backend {
 public:
  UringBackend() = default;
  UringBackend(const UringBackend&) = delete;
  UringBackend& operator=(const UringBackend&) = delete;
  ~UringBackend() override {
    if (open_) io_uring_queue_exit(&ring_);
  }

  // 0, or -errno.
  int open() {
    io_uring_params parameters{};
    parameters.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                       IORING_SETUP_CQSIZE;
    parameters.cq_entries = kRingEntries * 8;
    const int error = io_uring_queue_init_params(kRingEntries, &ring_, &parameters);
    if (error < 0) return error;
    open_ = true;
    // A filter may allow the ring to be made and forbid its use.
    const int entered = io_uring_get_events(&ring_);
    return entered < 0 && entered != -EINTR ? entered : 0;
  }

  void submit(SystemCall& call) override {
    if (call.urgent) ++urgent_in_flight_;
    if (asks_device(call)) ++asked_of_devices_;
    if (call.kind == SystemCall::Kind::kSync && asked_of_devices_ == 1 &&
        unsynced_bytes_ <= kQuicklySyncedBytes) {
      lone_sync_ = &call;  // perhaps; what is asked until the turn tells
    } else {
      enqueue(call);
    }
  }

  void turn(std::optional<std::chrono::nanoseconds> limit) override {
    constexpr std::chrono::nanoseconds kNone{0};
    if (!done_.empty()) limit = kNone;
    if (lone_sync_ != nullptr && !others_first(limit == kNone)) {
      if (sync_here()) {
        limit = kNone;
      } else {
        enqueue(*std::exchange(lone_sync_, nullptr));
      }
    }
    enter(limit);
    take_done();
    complete_some();
  }

  // Where the kernel has no room for it, calls go by the descriptor as ever.
  void know_file(int descriptor) override {
    if (known_files_.empty()) {
      if (io_uring_register_files_sparse(&ring_, kKnownFiles) < 0) return;
    }
    auto free = std::ranges::find(known_files_, kNoFile);
    if (free == known_files_.end()) {
      if (known_files_.size() == kKnownFiles) return;
      free = known_files_.insert(free, kNoFile);
    }
    const auto index = static_cast<unsigned>(free - known_files_.begin());
    if (io_uring_register_files_update(&ring_, index, &descriptor, 1) == 1) *free = descriptor;
  }

  void forget_file(int descriptor) override {
    const auto known = std::ranges::find(known_files_, descriptor);
    if (known == known_files_.end()) return;
    *known = kNoFile;
    int none = -1;
    io_uring_register_files_update(&ring_, static_cast<unsigned>(known - known_files_.begin()), &none, 1);
  }

 private:
  static constexpr int kNoFile = -1;

  void enqueue(SystemCall& call) {
    if (call.kind == SystemCall::Kind::kSync) unsynced_bytes_ = 0;
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    while (entry == nullptr) {
      io_uring_submit(&ring_);
      entry = io_uring_get_sqe(&ring_);
    }
    prepare(entry, call, in_registered_area(call));
    const auto known = std::ranges::find(known_files_, call.descriptor);
    if (known != known_files_.end()) {
      entry->fd = static_cast<int>(known - known_files_.begin());
      entry->flags |= IOSQE_FIXED_FILE;
    }
    io_uring_sqe_set_data(entry, &call);
    note_ready(call);
  }

  // Something has completed, or will when the kernel is entered.
  bool something_came() {
    constexpr unsigned kCame = IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW;
    return io_uring_cq_ready(&ring_) != 0 || (IO_URING_READ_ONCE(*ring_.sq.kflags) & kCame) != 0;
  }

  // What is posted may ask the devices for more, or be a sweep that always has a next step: it has one turn.
  bool others_first(bool busy) {
    others_had_turn_ = busy && !others_had_turn_ && left_to_kernel_ == 0;
    return others_had_turn_;
  }

  // Whether the lone sync was made, and is among what is done. Not where a client waits for this thread.
  bool sync_here() {
    if (asked_of_devices_ != 1 || !done_.empty() || something_came()) return false;
    if (left_to_kernel_ != 0) {
      --left_to_kernel_;
      return false;
    }
    if (io_uring_sq_ready(&ring_) != 0) io_uring_submit(&ring_);
    unsynced_bytes_ = 0;
    const auto start = std::chrono::steady_clock::now();
    lone_sync_->result = fdatasync(lone_sync_->descriptor) == 0 ? 0 : -errno;
    const bool quick = std::chrono::steady_clock::now() - start < kQuickSync;
    slow_syncs_ = quick ? slow_syncs_ / 2 : std::min(2 * slow_syncs_ + 1, kMostLeftToKernel);
    left_to_kernel_ = slow_syncs_;
    note_done(*std::exchange(lone_sync_, nullptr));
    return true;
  }

  bool in_registered_area(const SystemCall& call) {
    if (call.kind != SystemCall::Kind::kRead && call.kind != SystemCall::Kind::kWrite) return false;
    const auto* address = static_cast<const std::byte*>(call.address);
    const bool inside = address >= area_.data() && address < area_.data() + area_.size();
    if (!inside) return false;
    if (transfers_ < kTransfersToRegister) {
      ++transfers_;
      if (transfers_ == kTransfersToRegister) register_area();
    }
    return registered_;
  }

  // The memory that a process may lock can be too little; then it stays as it is.
  void register_area() {
    const iovec all{area_.data(), area_.size()};
    (void)madvise(area_.data(), area_.size(), MADV_HUGEPAGE);
    registered_ = io_uring_register_buffers(&ring_, &all, 1) == 0;
  }

  void enter(std::optional<std::chrono::nanoseconds> limit) {
    if (asked_of_devices_ != 0 || limit == std::chrono::nanoseconds{0}) return wait(limit);
    const auto start = std::chrono::steady_clock::now();
    if (soon_) {
      watch_until(start + std::min<std::chrono::nanoseconds>(kWatch, limit.value_or(kWatch)));
      soon_ = something_came();
      return wait(soon_ || limit ? std::chrono::nanoseconds{0} : limit);
    }
    wait(limit);
    soon_ = something_came() && std::chrono::steady_clock::now() - start < kSoon;
  }

  // Yields, for it may be the client that needs this processor.
  void watch_until(std::chrono::steady_clock::time_point end) {
    if (io_uring_sq_ready(&ring_) != 0) io_uring_submit(&ring_);
    while (!something_came() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  }

  void wait(std::optional<std::chrono::nanoseconds> limit) {
    const bool would_sleep = !limit || limit->count() > 0;
    if (would_sleep) times_behind_ = something_came() ? std::min(times_behind_ + 1, kTimesBehind) : 0;
    if (!limit) {
      io_uring_submit_and_wait(&ring_, 1);
    } else if (limit->count() > 0) {
      io_uring_cqe* completion = nullptr;
      __kernel_timespec left{limit->count() / 1'000'000'000, limit->count() % 1'000'000'000};
      io_uring_submit_and_wait_timeout(&ring_, &completion, 1, &left, nullptr);
    } else if (io_uring_sq_ready(&ring_) != 0) {
      io_uring_submit_and_get_events(&ring_);
    }
  }

  // Copied out and consumed before anything runs: what runs may submit, and wait in a full queue.
  // Looking enters the kernel only where the ring's flags say that something waits there (TASKRUN_FLAG), so
  // that the loop can go round among coroutines of this thread without a system call.
  void take_done() {
    std::array<io_uring_cqe*, kCompletionsPerTurn> completions;
    const unsigned count = io_uring_peek_batch_cqe(&ring_, completions.data(), kCompletionsPerTurn);
    for (unsigned i = 0; i < count; ++i) {
      auto* call = static_cast<SystemCall*>(io_uring_cqe_get_data(completions[i]));
      call->result = completions[i]->res;
      note_done(*call);
    }
    io_uring_cq_advance(&ring_, count);
  }

  void note_done(SystemCall& call) {
    if (asks_device(call)) {
      --asked_of_devices_;
      const bool dirties = call.kind == SystemCall::Kind::kWrite || call.kind == SystemCall::Kind::kAllocate;
      if (dirties) unsynced_bytes_ += call.length;
    }
    if (call.urgent) --urgent_in_flight_;
    (call.urgent ? urgent_done_ : done_).push_back(&call);
  }

  // An urgent call waits behind a few others, not behind all that completed together.
  void complete_some() {
    for (SystemCall* call : urgent_done_) complete(*call);
    urgent_done_.clear();
    for (unsigned i = 0; completed_ < done_.size(); ++i) {
      if (i >= (urgent_in_flight_ != 0 ? kUrgentCompletionsPerTurn : kCompletionsPerTurn)) return forget();
      complete(*done_[completed_++]);
    }
    done_.clear();
    completed_ = 0;
  }

  // What was completed long ago, while there was always more to come.
  void forget() {
    if (completed_ < kCompletionsPerTurn) return;
    done_.erase(done_.begin(), done_.begin() + static_cast<std::ptrdiff_t>(completed_));
    completed_ = 0;
  }

  void complete(SystemCall& call) {
    call.complete(call);
    if (time_to_start()) io_uring_submit(&ring_);
  }

  void note_ready(const SystemCall& call) {
    // What was ready before has been started since.
    if (io_uring_sq_ready(&ring_) == 1) {
      separate_ = 0;
      urgent_ = false;
    }
    urgent_ = urgent_ || call.urgent;
    const bool continues = separate_ != 0 && call.kind == SystemCall::Kind::kWrite &&
                           call.descriptor == last_.descriptor && call.offset == last_.end;
    if (!continues) ++separate_;
    last_ = {call.descriptor, call.offset + call.length};
  }

  [[nodiscard]] bool time_to_start() const {
    const unsigned ready = io_uring_sq_ready(&ring_);
    if (urgent_ && ready != 0) return true;
    const StartRule& rule = times_behind_ == kTimesBehind ? kStartBehind : kStartEarly;
    return ready >= rule.least && (separate_ >= std::max(rule.least, asked_of_devices_ / rule.part) ||
                                   ready >= asked_of_devices_ / rule.part_merged);
  }

  io_uring ring_{};
  unsigned urgent_in_flight_ = 0;
  unsigned asked_of_devices_ = 0;     // of what is in flight
  SystemCall* lone_sync_ = nullptr;   // not started yet
  bool others_had_turn_ = false;      // since it is waiting
  std::uint64_t unsynced_bytes_ = 0;  // that completed since a sync was started, of whichever file
  unsigned slow_syncs_ = 0;           // to leave to the kernel after the next long one: grows with each
  unsigned left_to_kernel_ = 0;       // … still
  bool soon_ = false;                 // the last time that only clients were waited for they were quick
  unsigned times_behind_ = 0;
  std::vector<SystemCall*> urgent_done_;  // not completed yet
  std::vector<SystemCall*> done_;         // … from completed_ on
  std::size_t completed_ = 0;
  bool urgent_ = false;    // something of what is ready
  unsigned separate_ = 0;  // of what is ready, without what continues the call before it
  struct {
    int descriptor = -1;
    std::uint64_t end = 0;
  } last_;
  std::vector<int> known_files_;  // by their index in the ring
  std::span<std::byte> area_ = io_memory();
  unsigned transfers_ = 0;  // of the area, up to when it is registered
  bool registered_ = false;
  bool open_ = false;
};

}  // namespace

Result<std::unique_ptr<Backend>> make_uring_backend() {
  enable_io_memory();
  auto backend = std::make_unique<UringBackend>();
  if (const int error = backend->open(); error < 0)
    return fail(ErrorKind::kUnsupported, -error,
                "io_uring is not to be had (needs Linux 6.1, and a container runtime that allows it)");
  return backend;
}

}  // namespace coppice
