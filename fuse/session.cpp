#include "fuse/session.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "coppice/next_turn.h"
#include "fuse/operations.h"

#define FUSE_USE_VERSION 35
#include <fuse3/fuse_lowlevel.h>

namespace coppice::fuse {

namespace {

// What stands before the data of a write: two structures of 40 bytes. Requests are read so that the data lies
// on a block boundary and goes to the device as it is.
constexpr std::size_t kWriteHeadBytes = 80;
constexpr std::size_t kRequestOffset = kBlockBytes - kWriteHeadBytes;
constexpr std::size_t kRequestBytes = kBlockBytes + kMostRequestBytes;
// Up to here the data of a write is copied, and the buffer, large enough for any request, stays where it is.
constexpr std::size_t kCopiedBytes = std::size_t{16} << 10;
// So many requests are read before what they asked of the device is started (docs/performance.md).
constexpr unsigned kRequestsPerTurn = 2;

// What libfuse has to say when it can't mount, on the thread that mounts.
thread_local std::string g_said;

void keep_what_is_said(fuse_log_level, const char* format, va_list arguments) {
  char line[512];
  std::vsnprintf(line, sizeof line, format, arguments);
  g_said += line;
  while (!g_said.empty() && (g_said.back() == '\n' || g_said.back() == ' ')) g_said.pop_back();
}

// libfuse splits options at commas.
std::string escaped(const std::string& text) {
  std::string all;
  for (const char byte : text) {
    if (byte == ',' || byte == '\\') all += '\\';
    all += byte;
  }
  return all;
}

}  // namespace

Outcome<std::unique_ptr<Session>> Session::mount(const std::string& directory, const std::string& source,
                                                 bool allow_other) {
  std::string options = "subtype=coppice,default_permissions,fsname=" + escaped(source);
  if (allow_other) options += ",allow_other";
  return make(options, directory, directory);
}

// libfuse knows of such paths: it takes the descriptor, and makes no mount.
Outcome<std::unique_ptr<Session>> Session::take(int descriptor, const std::string& name) {
  return make("subtype=coppice", "/dev/fd/" + std::to_string(descriptor), name);
}

Outcome<std::unique_ptr<Session>> Session::make(const std::string& options, const std::string& directory,
                                                const std::string& name) {
  std::string words[] = {"coppice", "-o", options};
  char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), nullptr};
  fuse_args all = FUSE_ARGS_INIT(3, arguments);
  fuse_lowlevel_ops operations{};
  Operations::fill(operations);
  fuse_set_log_func(keep_what_is_said);
  g_said.clear();
  std::unique_ptr<Session> session(new Session(nullptr));
  session->session_ = fuse_session_new(&all, &operations, sizeof operations, session.get());
  fuse_opt_free_args(&all);
  if (session->session_ == nullptr)
    return refuse(ErrorKind::kIo, "mounting " + name + ": libfuse refused to start: " + g_said);
  if (fuse_session_mount(session->session_, directory.c_str()) != 0)
    return refuse(ErrorKind::kIo, "mounting " + name + ": " + (g_said.empty() ? "refused" : g_said));
  auto prepared = session->prepare_waiting(name);
  if (prepared) return session;
  fuse_session_unmount(session->session_);
  return std::unexpected(prepared.error());
}

// A request that is taken back between poll and read must not hold the reactor up: reads don't wait.
Outcome<> Session::prepare_waiting(const std::string& directory) {
  descriptor_ = fuse_session_fd(session_);
  cut_off_ = eventfd(0, EFD_CLOEXEC);
  waiting_ = epoll_create1(EPOLL_CLOEXEC);
  bool good = cut_off_ >= 0 && waiting_ >= 0 &&
              fcntl(descriptor_, F_SETFL, fcntl(descriptor_, F_GETFL) | O_NONBLOCK) == 0;
  for (const int each : {descriptor_, cut_off_}) {
    epoll_event event{};
    event.events = EPOLLIN;
    good = good && epoll_ctl(waiting_, EPOLL_CTL_ADD, each, &event) == 0;
  }
  if (good) return {};
  return refuse(ErrorKind::kIo, "mounting " + directory + ": waiting for requests: " + std::strerror(errno));
}

Session::~Session() {
  for (const int each : {waiting_, cut_off_}) {
    if (each >= 0) ::close(each);
  }
  // Closes the descriptor. Not fuse_session_unmount(): by now something else may be mounted there. (So
  // libfuse never frees its copy of the path.)
  if (session_ != nullptr) fuse_session_destroy(session_);
}

void Session::cut_off() {
  ending_ = true;
  const std::uint64_t one = 1;
  static_cast<void>(!::write(cut_off_, &one, sizeof one));
}

Task<void> Session::serve(Reactor& reactor, FileSystem& file_system) {
  reactor_ = &reactor;
  file_system_ = &file_system;
  running_.emplace(reactor);
  co_await take_requests();
  co_await running_->wait();
  co_await file_system.close_all();
}

ssize_t Session::receive() {
  if (request_.empty()) request_ = file_system_->buffers().take(kRequestBytes);
  std::byte* start = request_.data() + kRequestOffset;
  const ssize_t got = ::read(descriptor_, start, kRequestBytes - kRequestOffset);
  return got < 0 ? -errno : got;
}

Task<void> Session::take_requests() {
  unsigned taken = 0;
  while (!ending_) {
    const ssize_t got = receive();
    if (got == -EAGAIN) {
      taken = 0;
      const std::int32_t events = co_await reactor_->poll(waiting_, POLLIN);
      (void)events;  // what there is, the next read tells
    } else if (got == -EINTR || got == -ENOENT) {
      continue;  // a request that was taken back
    } else if (got <= 0) {
      co_return;  // unmounted, or cut off
    } else {
      fuse_buf request{};
      request.mem = request_.data() + kRequestOffset;
      request.size = static_cast<std::size_t>(got);
      fuse_session_process_buf(session_, &request);
      if (++taken == kRequestsPerTurn) {
        taken = 0;
        co_await NextTurn{*reactor_};
      }
    }
  }
}

Payload Session::take_payload(const char* bytes, std::size_t size) {
  const auto* start = reinterpret_cast<const std::byte*>(bytes);
  Payload payload;
  if (size > kCopiedBytes) {
    payload.bytes = {start, size};
    payload.buffer = std::move(request_);
  } else {
    payload.buffer = file_system_->buffers().take(size);
    std::memcpy(payload.buffer.data(), start, size);
    payload.bytes = payload.buffer.first(size);
  }
  return payload;
}

void Session::start(Task<void> operation) {
  running_->add();
  spawn(run(std::move(operation)));
}

Task<void> Session::run(Task<void> operation) {
  co_await operation;
  running_->done();
}

}  // namespace coppice::fuse
