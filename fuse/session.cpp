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

#define FUSE_USE_VERSION 35
#include <fuse3/fuse_lowlevel.h>

namespace coppice::fuse {

namespace {

constexpr std::uint32_t kMostBytes = 1U << 20;  // of one read or write
// What stands before the data of a write: two structures of 40 bytes. Requests are read so that the data lies
// on a block boundary and goes to the device as it is.
constexpr std::size_t kWriteHeadBytes = 80;
constexpr std::size_t kRequestOffset = kBlockBytes - kWriteHeadBytes;
constexpr std::size_t kRequestBytes = kBlockBytes + kMostBytes;
// Up to here the data of a write is copied, and the buffer, large enough for any request, stays where it is.
constexpr std::size_t kCopiedBytes = std::size_t{16} << 10;
// So many requests are read before what they asked of the device is started (docs/performance.md).
constexpr unsigned kRequestsPerTurn = 2;
// The kernel holds back what is asked asynchronously beyond that.
constexpr unsigned kMostInBackground = 256;

// What libfuse has to say when it can't mount, on the thread that mounts.
thread_local std::string g_said;

void keep_what_is_said(fuse_log_level, const char* format, va_list arguments) {
  char line[512];
  std::vsnprintf(line, sizeof line, format, arguments);
  g_said += line;
  while (!g_said.empty() && (g_said.back() == '\n' || g_said.back() == ' ')) g_said.pop_back();
}

// Resumes from the loop, behind what the requests so far have submitted.
struct NextTurn {
  Scheduler& scheduler;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) const { scheduler.post(handle); }
  void await_resume() const noexcept {}
};

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

// What the kernel asks, as libfuse hands it over, on to the FileSystem.
struct Operations {
  static Session& session_of(fuse_req_t request) {
    return *static_cast<Session*>(fuse_req_userdata(request));
  }
  static FileSystem& files_of(fuse_req_t request) { return *session_of(request).file_system_; }
  static void start(fuse_req_t request, Task<void> operation) {
    session_of(request).start(std::move(operation));
  }

  static void init(void*, fuse_conn_info* connection) {
    // No cache of writes: what was written is with the engine. No splice: data is read where it is used.
    connection->want = connection->capable & (FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO |
                                              FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_PARALLEL_DIROPS);
    connection->max_write = kMostBytes;
    connection->max_background = kMostInBackground;
    connection->congestion_threshold = kMostInBackground;
  }

  static void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
    start(request, files_of(request).lookup(Reply(request), parent, name));
  }
  static void forget(fuse_req_t request, fuse_ino_t, std::uint64_t) { fuse_reply_none(request); }
  static void forget_multi(fuse_req_t request, std::size_t, fuse_forget_data*) { fuse_reply_none(request); }
  static void getattr(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
    start(request, files_of(request).get_attributes(Reply(request), inode));
  }
  static void setattr(fuse_req_t request, fuse_ino_t inode, struct stat* attributes, int set,
                      fuse_file_info*) {
    const FileSystem::Changes changes{
        .owner_or_mode = (set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) != 0,
        .size = (set & FUSE_SET_ATTR_SIZE) != 0,
        .size_bytes = static_cast<std::uint64_t>(attributes->st_size)};
    start(request, files_of(request).set_attributes(Reply(request), inode, changes));
  }
  static void readlink(fuse_req_t request, fuse_ino_t inode) {
    start(request, files_of(request).read_link(Reply(request), inode));
  }
  static void opendir(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
    start(request, files_of(request).open_directory(Reply(request), inode));
  }
  static void readdir(fuse_req_t request, fuse_ino_t inode, std::size_t size, off_t offset,
                      fuse_file_info* file) {
    start(request, files_of(request).read_directory(Reply(request), inode, file->fh,
                                                    static_cast<std::uint64_t>(offset), size));
  }
  static void releasedir(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
    files_of(request).close_directory(Reply(request), file->fh);
  }
  static void statfs(fuse_req_t request, fuse_ino_t) {
    start(request, files_of(request).file_system_figures(Reply(request)));
  }

  static void open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) {
    start(request, files_of(request).open(Reply(request), inode, file->flags));
  }
  static void release(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
    start(request, files_of(request).close(Reply(request), file->fh));
  }
  static void read(fuse_req_t request, fuse_ino_t, std::size_t size, off_t offset, fuse_file_info* file) {
    start(request,
          files_of(request).read(Reply(request), file->fh, static_cast<std::uint64_t>(offset), size));
  }
  static void write(fuse_req_t request, fuse_ino_t, const char* bytes, std::size_t size, off_t offset,
                    fuse_file_info* file) {
    const bool durable = (file->flags & (O_SYNC | O_DSYNC)) != 0;
    Payload payload = session_of(request).take_payload(bytes, size);
    start(request, files_of(request).write(Reply(request), file->fh, static_cast<std::uint64_t>(offset),
                                           std::move(payload), durable));
  }
  static void flush(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
    start(request, files_of(request).flush(Reply(request), file->fh, true));
  }
  static void fsync(fuse_req_t request, fuse_ino_t, int, fuse_file_info* file) {
    start(request, files_of(request).flush(Reply(request), file->fh, false));
  }
  static void fsyncdir(fuse_req_t request, fuse_ino_t, int, fuse_file_info*) { fuse_reply_err(request, 0); }
  static void fallocate(fuse_req_t request, fuse_ino_t, int mode, off_t offset, off_t length,
                        fuse_file_info* file) {
    start(request,
          files_of(request).allocate(Reply(request), file->fh, mode, static_cast<std::uint64_t>(offset),
                                     static_cast<std::uint64_t>(length)));
  }
  static void lseek(fuse_req_t request, fuse_ino_t, off_t offset, int whence, fuse_file_info* file) {
    const Seek what = whence == SEEK_DATA ? Seek::kData : Seek::kHole;
    start(request,
          files_of(request).find(Reply(request), file->fh, static_cast<std::uint64_t>(offset), what));
  }
  static void copy_file_range(fuse_req_t request, fuse_ino_t, off_t from, fuse_file_info* source, fuse_ino_t,
                              off_t to, fuse_file_info* target, std::size_t length, int) {
    start(request, files_of(request).copy(Reply(request), {source->fh, static_cast<std::uint64_t>(from)},
                                          {target->fh, static_cast<std::uint64_t>(to)}, length));
  }

  // Disks and snapshots are made by the verbs.
  static void refuse(fuse_req_t request) { fuse_reply_err(request, EPERM); }
  static void mknod(fuse_req_t request, fuse_ino_t, const char*, mode_t, dev_t) { refuse(request); }
  static void mkdir(fuse_req_t request, fuse_ino_t, const char*, mode_t) { refuse(request); }
  static void create(fuse_req_t request, fuse_ino_t, const char*, mode_t, fuse_file_info*) {
    refuse(request);
  }
  static void unlink(fuse_req_t request, fuse_ino_t, const char*) { refuse(request); }
  static void symlink(fuse_req_t request, const char*, fuse_ino_t, const char*) { refuse(request); }
  static void rename(fuse_req_t request, fuse_ino_t, const char*, fuse_ino_t, const char*, unsigned) {
    refuse(request);
  }
  static void link(fuse_req_t request, fuse_ino_t, fuse_ino_t, const char*) { refuse(request); }

  static fuse_lowlevel_ops table() {
    fuse_lowlevel_ops operations{};
    operations.init = init;
    operations.lookup = lookup;
    operations.forget = forget;
    operations.forget_multi = forget_multi;
    operations.getattr = getattr;
    operations.setattr = setattr;
    operations.readlink = readlink;
    operations.opendir = opendir;
    operations.readdir = readdir;
    operations.releasedir = releasedir;
    operations.statfs = statfs;
    operations.open = open;
    operations.release = release;
    operations.read = read;
    operations.write = write;
    operations.flush = flush;
    operations.fsync = fsync;
    operations.fsyncdir = fsyncdir;
    operations.fallocate = fallocate;
    operations.lseek = lseek;
    operations.copy_file_range = copy_file_range;
    operations.mknod = mknod;
    operations.mkdir = mkdir;
    operations.create = create;
    operations.unlink = operations.rmdir = unlink;
    operations.symlink = symlink;
    operations.rename = rename;
    operations.link = link;
    return operations;
  }
};

Outcome<std::unique_ptr<Session>> Session::mount(const std::string& directory, const std::string& source,
                                                 bool allow_other) {
  std::string options = "subtype=coppice,default_permissions,fsname=" + escaped(source);
  if (allow_other) options += ",allow_other";
  std::string words[] = {"coppice", "-o", options};
  char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), nullptr};
  fuse_args all = FUSE_ARGS_INIT(3, arguments);
  const fuse_lowlevel_ops operations = Operations::table();
  fuse_set_log_func(keep_what_is_said);
  g_said.clear();
  std::unique_ptr<Session> session(new Session(nullptr));
  session->session_ = fuse_session_new(&all, &operations, sizeof operations, session.get());
  fuse_opt_free_args(&all);
  if (session->session_ == nullptr)
    return refuse(ErrorKind::kIo, "mounting " + directory + ": libfuse refused to start: " + g_said);
  if (fuse_session_mount(session->session_, directory.c_str()) != 0)
    return refuse(ErrorKind::kIo, "mounting " + directory + ": " + (g_said.empty() ? "refused" : g_said));
  auto prepared = session->prepare_waiting(directory);
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
