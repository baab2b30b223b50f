// co_await on_own_thread(reactor, work): a blocking call on a thread made for it, the answer back on the
// reactor.
//
// For calls that may need this very process to answer the kernel before they return (a stat below a mount of
// ours, an unmount), which neither the reactor's thread nor that of the engine's background work may make.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <span>
#include <thread>
#include <type_traits>

#include "coppice/reactor.h"

namespace coppice::fuse {

template <class Function>
Task<std::invoke_result_t<Function>> on_own_thread(Reactor& reactor, Function work) {
  std::optional<std::invoke_result_t<Function>> answer;
  const int done = eventfd(0, EFD_CLOEXEC);
  std::thread thread([&] {
    answer.emplace(work());
    const std::uint64_t one = 1;
    static_cast<void>(!::write(done, &one, sizeof one));
  });
  std::uint64_t count = 0;
  const auto into = std::as_writable_bytes(std::span(&count, 1));
  std::int32_t got = -EINTR;
  while (got == -EINTR) got = co_await reactor.read(done, into, kStreamPosition);
  thread.join();
  ::close(done);
  co_return std::move(*answer);
}

}  // namespace coppice::fuse
