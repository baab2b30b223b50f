// What keeps many clients, or bad ones, from harming the others, in numbers; and OncePerBurst, by which they
// don't fill the log.
//
// A client may hold this much of the server's memory: the requests that ReplySender admits (8 MiB, or one of
// 32), 128 KiB of its stream, and with TLS four buffers of 64 KiB. One that is idle holds a few pages. On the
// reactor's thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <utility>

namespace coppice::nbd {

struct Limits {
  std::size_t max_connections = 1024;
  // Of a handshake, what the client needs: for each step, and for all of them.
  std::chrono::milliseconds handshake_step{10'000};
  std::chrono::milliseconds handshake_whole{60'000};
  // Without a request that comes, or a reply that is taken. Zero: for ever; a guest may well be idle for
  // days.
  std::chrono::milliseconds idle{0};
  // For requests in flight at a stop, and for the last bytes to a client that uses TLS.
  std::chrono::milliseconds drain{10'000};
};

// Who comes above max_connections is told so, by a handshake that leads nowhere; of those there may be so
// many at once.
inline constexpr std::size_t kMaxRefusals = 16;

class OncePerBurst {
 public:
  // How many were left out before this one, if it is to be told of; nothing if it is one of those.
  std::optional<std::size_t> note(std::chrono::nanoseconds now) {
    if (now < quiet_until_) {
      ++left_out_;
      return std::nullopt;
    }
    quiet_until_ = now + kQuiet;
    return std::exchange(left_out_, 0);
  }

 private:
  static constexpr std::chrono::seconds kQuiet{10};
  std::chrono::nanoseconds quiet_until_{};
  std::size_t left_out_ = 0;
};

}  // namespace coppice::nbd
