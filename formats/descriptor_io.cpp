#include "formats/descriptor_io.h"

#include <poll.h>

#include <cerrno>
#include <cstring>

namespace coppice::formats {
namespace {

std::uint64_t advanced(std::uint64_t offset_bytes, std::size_t done) {
  return offset_bytes == kStreamOffset ? kStreamOffset : offset_bytes + done;
}

std::string at(const char* doing, std::uint64_t offset_bytes) {
  return offset_bytes == kStreamOffset ? doing : doing + (" at byte " + std::to_string(offset_bytes));
}

}  // namespace

std::unexpected<Failure> image_failure(int errno_value, const std::string& doing) {
  const ErrorKind kind = errno_value == ENOSPC ? ErrorKind::kNoSpace : ErrorKind::kIo;
  return refuse(kind, "the image: " + doing + ": " + std::strerror(errno_value));
}

Task<Outcome<std::size_t>> read_fully(Reactor& reactor, int descriptor, std::span<std::byte> into,
                                      std::uint64_t offset_bytes) {
  std::size_t done = 0;
  while (done < into.size()) {
    const auto got = co_await reactor.read(descriptor, into.subspan(done), advanced(offset_bytes, done));
    if (got == 0) break;
    if (got > 0) {
      done += static_cast<std::size_t>(got);
    } else if (got == -EAGAIN) {
      [[maybe_unused]] const auto readable = co_await reactor.poll(descriptor, POLLIN);
    } else if (got != -EINTR) {
      co_return image_failure(-got, at("reading", advanced(offset_bytes, done)));
    }
  }
  co_return done;
}

Task<Outcome<>> write_fully(Reactor& reactor, int descriptor, std::span<const std::byte> from,
                            std::uint64_t offset_bytes) {
  std::size_t done = 0;
  while (done < from.size()) {
    const auto put = co_await reactor.write(descriptor, from.subspan(done), advanced(offset_bytes, done));
    if (put >= 0) {
      done += static_cast<std::size_t>(put);
    } else if (put == -EAGAIN) {
      [[maybe_unused]] const auto writable = co_await reactor.poll(descriptor, POLLOUT);
    } else if (put != -EINTR) {
      co_return image_failure(-put, at("writing", advanced(offset_bytes, done)));
    }
  }
  co_return Outcome<>{};
}

}  // namespace coppice::formats
