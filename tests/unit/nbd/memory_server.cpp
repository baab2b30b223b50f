// Serves disks in memory over NBD, for real clients to be tried against the NBD room alone.
//
//   nbd_memory_server URI SIZE_MIB     exports `disk` and `disk@snap`; ends on SIGTERM
#include <sys/signalfd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "memory_exports.h"
#include "nbd/server.h"

namespace {

coppice::Task<int> serve(coppice::Reactor& reactor, coppice::nbd::Endpoint endpoint, std::uint64_t size_bytes,
                         int signals) {
  coppice::test::MemoryExports exports;
  exports.add(reactor, "disk", size_bytes);
  exports.add(reactor, "disk@snap", size_bytes);
  coppice::nbd::ServerOptions options;
  options.log = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
  coppice::nbd::Server server(reactor, exports, options);
  const auto listening = server.listen(endpoint);
  if (!listening) {
    std::fprintf(stderr, "%s\n", listening.error().message.c_str());
    co_return 2;
  }
  server.start();
  std::printf("%s\n", coppice::nbd::export_uri(*listening, "disk").c_str());
  std::fflush(stdout);
  signalfd_siginfo received{};
  const auto into = std::as_writable_bytes(std::span(&received, 1));
  const std::int32_t woken = co_await reactor.read(signals, into, UINT64_MAX);
  co_await server.stop();
  co_return woken > 0 ? 0 : 2;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: nbd_memory_server URI SIZE_MIB\n");
    return 2;
  }
  const auto endpoint = coppice::nbd::parse_endpoint(argv[1]);
  if (!endpoint) {
    std::fprintf(stderr, "%s\n", endpoint.error().message.c_str());
    return 2;
  }
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  sigprocmask(SIG_BLOCK, &ends, nullptr);
  const int signals = signalfd(-1, &ends, SFD_CLOEXEC);
  auto reactor = coppice::Reactor::create();
  if (!reactor || signals < 0) {
    std::fprintf(stderr, "cannot start\n");
    return 2;
  }
  const std::uint64_t size_bytes = std::strtoull(argv[2], nullptr, 10) << 20;
  return (*reactor)->run(serve(**reactor, *endpoint, size_bytes, signals));
}
