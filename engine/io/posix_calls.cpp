#include "io/posix_calls.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace coppice {

namespace {

using Kind = SystemCall::Kind;

std::int32_t result_of(ssize_t answer) {
  return answer < 0 ? -errno : static_cast<std::int32_t>(answer);
}

bool is_stream(const SystemCall& call) {
  return (call.kind == Kind::kRead || call.kind == Kind::kWrite) && call.offset == kStreamPosition;
}

// A pipe, a terminal, an eventfd … which poll(2) has found ready. Where the kernel can't be told not to wait,
// a read takes what is there, and a write is no larger than what a ready pipe takes at once.
std::int32_t transfer_ready(const SystemCall& call) {
  const bool reads = call.kind == Kind::kRead;
  const iovec piece{call.address, call.length};
  const std::int32_t done = result_of(reads ? preadv2(call.descriptor, &piece, 1, -1, RWF_NOWAIT)
                                            : pwritev2(call.descriptor, &piece, 1, -1, RWF_NOWAIT));
  if (done != -EOPNOTSUPP) return done;
  if (reads) return result_of(read(call.descriptor, call.address, call.length));
  return result_of(write(call.descriptor, call.address, std::min<std::uint64_t>(call.length, PIPE_BUF)));
}

// A client may leave between poll(2) and here, so a listener must not be one that waits.
std::int32_t accept_ready(int listener) {
  const int flags = fcntl(listener, F_GETFL);
  if (flags < 0) return -errno;
  if ((flags & O_NONBLOCK) == 0 && fcntl(listener, F_SETFL, flags | O_NONBLOCK) != 0) return -errno;
  return result_of(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
}

}  // namespace

bool blocks_on_device(const SystemCall& call) {
  if (call.kind == Kind::kSync || call.kind == Kind::kAllocate) return true;
  if (call.kind != Kind::kRead && call.kind != Kind::kWrite) return false;
  if (!is_stream(call)) return true;
  struct stat status{};
  return fstat(call.descriptor, &status) == 0 && (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode));
}

std::int32_t perform_blocking(const SystemCall& call) {
  const auto offset = static_cast<off_t>(call.offset);
  switch (call.kind) {
    case Kind::kRead:
      return result_of(is_stream(call) ? read(call.descriptor, call.address, call.length)
                                       : pread(call.descriptor, call.address, call.length, offset));
    case Kind::kWrite:
      return result_of(is_stream(call) ? write(call.descriptor, call.address, call.length)
                                       : pwrite(call.descriptor, call.address, call.length, offset));
    case Kind::kSync:
      return result_of(fdatasync(call.descriptor));
    case Kind::kAllocate:
      return result_of(fallocate(call.descriptor, call.flags, offset, static_cast<off_t>(call.length)));
    default:
      return -EINVAL;
  }
}

short events_before(const SystemCall& call) {
  switch (call.kind) {
    case Kind::kPoll:
      return static_cast<short>(call.flags);
    case Kind::kWrite:
    case Kind::kSend:
    case Kind::kSendMessage:
      return POLLOUT;
    default:
      return POLLIN;
  }
}

std::int32_t perform_ready(const SystemCall& call) {
  switch (call.kind) {
    case Kind::kRead:
    case Kind::kWrite:
      return transfer_ready(call);
    case Kind::kReceive:
      return result_of(recv(call.descriptor, call.address, call.length, MSG_DONTWAIT));
    case Kind::kSend:
      return result_of(send(call.descriptor, call.address, call.length, MSG_DONTWAIT | MSG_NOSIGNAL));
    case Kind::kSendMessage:
      return result_of(
          sendmsg(call.descriptor, static_cast<const msghdr*>(call.address), MSG_DONTWAIT | MSG_NOSIGNAL));
    case Kind::kAccept:
      return accept_ready(call.descriptor);
    default:
      return -EINVAL;
  }
}

}  // namespace coppice
