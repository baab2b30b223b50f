#include "cli/daemon.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "cli/control_server.h"
#include "cli/control_socket.h"
#include "cli/service_notify.h"
#include "cli/space_watch.h"
#include "cli/store_directory.h"
#include "cli/time_text.h"
#include "coppice/reactor.h"
#include "coppice/store.h"
#include "nbd/null_exports.h"
#include "nbd/server.h"
#include "nbd/store_exports.h"

namespace coppice::cli {
namespace {

constexpr unsigned kLongestStopSeconds = 28;
constexpr std::chrono::seconds kPolicyInterval{10};
// Between the last unmount and the end: its answer is on its way, and another mount may come.
constexpr std::chrono::milliseconds kAfterLastMount{200};

void log_line(const std::string& line) {
  spdlog::info("{}", line);
}

void log_warning(const std::string& line) {
  spdlog::warn("{}", line);
}

// Blocked before any thread is made, so that all threads leave them to the descriptor.
Outcome<UniqueFd> signals_as_descriptor() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT}) sigaddset(&set, number);
  UniqueFd signals;
  if (pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0) signals = UniqueFd(signalfd(-1, &set, SFD_CLOEXEC));
  if (signals.valid()) return signals;
  return refuse(ErrorKind::kIo, std::string("taking signals: ") + std::strerror(errno));
}

// Should something inside never come to its end, the daemon still does.
void give_up_later() {
  struct sigaction action{};
  action.sa_handler = [](int) {
    constexpr char kLine[] = "coppice: stopping took too long, giving up: the next start recovers\n";
    static_cast<void>(!write(STDERR_FILENO, kLine, sizeof kLine - 1));
    _exit(2);
  };
  sigaction(SIGALRM, &action, nullptr);
  alarm(kLongestStopSeconds);
}

// What is mounted here from a disk's file is written back through this process. So its own memory must not
// wait for that: all threads that are made from here on take none by writing back. Who is not root may not
// ask for it, nor have loop devices. What there is to say to who mounts.
std::string serve_below_file_systems() {
  if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) == 0 || geteuid() != 0) return {};
  return "CAP_SYS_RESOURCE is missing: file systems on loop devices on mounted disks can hang where memory "
         "is "
         "short";
}

class Daemon {
 public:
  Daemon(Reactor& reactor, const DaemonOptions& options, int signals, std::string caution)
      : reactor_(reactor), options_(options), signals_(signals), caution_(std::move(caution)) {}
  Task<Outcome<>> run();

 private:
  [[nodiscard]] nbd::ServerOptions server_options() const;
  Task<Outcome<>> serve_null();
  Task<Outcome<>> serve(Store& store);
  Task<Outcome<>> serve_until_signal(Store& store, nbd::Server& server, fuse::Mounts& mounts);
  Task<Outcome<>> mount_first(fuse::Mounts& mounts);
  Task<void> end_without_mounts(fuse::Mounts& mounts);
  [[nodiscard]] Service service(fuse::Mounts& mounts) const;
  Outcome<> listen(nbd::Server& server);
  Task<void> wait_for_signal();
  void warn_of_clients() const;
  void announce() const;

  Reactor& reactor_;
  const DaemonOptions& options_;
  int signals_;
  std::string caution_;
  std::vector<Place> listening_;
  std::string mounted_on_;
  std::string what_ = options_.null ? std::string("nothing but zeroes") : "store " + options_.store;
  bool read_only_ = false;
  WaitGroup ending_{reactor_};
};

Task<Outcome<>> Daemon::run() {
  if (options_.null) {
    auto served = co_await serve_null();
    co_return served;
  }
  OpenOptions open;
  open.directory = options_.store;
  open.mode = options_.mode;
  open.cache_bytes = options_.cache_bytes;
  open.conservative_flush = options_.conservative_flush;
  open.notice = log_warning;
  open.event = log_line;
  open.give_back = options_.give_back;
  open.wall_clock = now_unix_ms;
  open.policy_interval = kPolicyInterval;
  auto store = co_await open_store(reactor_, std::move(open));
  if (!store) co_return std::unexpected(store.error());
  auto served = co_await serve(**store);
  auto closed = co_await (*store)->close();
  if (!served) co_return served;
  co_return closed;
}

nbd::ServerOptions Daemon::server_options() const {
  nbd::ServerOptions options;
  options.limits = options_.nbd.limits;
  options.credentials = options_.nbd.credentials;
  options.log = log_line;
  return options;
}

Task<Outcome<>> Daemon::serve_null() {
  nbd::NullExports exports;
  nbd::Server server(reactor_, exports, server_options());
  auto listening = listen(server);
  if (!listening) co_return listening;
  server.start();
  announce();
  co_await wait_for_signal();
  give_up_later();
  notify_service_manager("STOPPING=1");
  co_await server.stop();
  co_return Outcome<>{};
}

Task<Outcome<>> Daemon::serve(Store& store) {
  nbd::StoreExports exports(store);
  nbd::Server server(reactor_, exports, server_options());
  auto listening = listen(server);
  if (!listening) co_return listening;
  read_only_ = !store.read_only().empty();
  fuse::Mounts mounts(reactor_, store, options_.store, !read_only_, log_line);
  mounts.caution = caution_;
  auto served = co_await serve_until_signal(store, server, mounts);
  co_return served;
}

Task<Outcome<>> Daemon::serve_until_signal(Store& store, nbd::Server& server, fuse::Mounts& mounts) {
  auto control_socket = listen_control(options_.store);
  // On a read-only medium no socket can be made; commands then open the store themselves, beside this.
  if (!control_socket && !read_only_) co_return std::unexpected(control_socket.error());
  if (!control_socket) spdlog::warn("{}", control_socket.error().message);
  co_await mounts.clear_dead();
  auto mounted = co_await mount_first(mounts);
  if (!mounted) {
    if (control_socket) remove_control(options_.store);
    co_return mounted;
  }
  Dispatcher dispatcher(reactor_, store, service(mounts));
  ControlServer control(reactor_, dispatcher);
  EventHook hook(options_.on_event, options_.store);
  SpaceWatch space(reactor_, store, options_.low_space, hook);
  server.start();
  if (control_socket) control.start(std::move(*control_socket));
  space.start();
  announce();
  co_await wait_for_signal();
  give_up_later();
  notify_service_manager("STOPPING=1");
  co_await space.stop();
  if (control_socket) {
    remove_control(options_.store);
    co_await control.stop();
  }
  co_await mounts.stop();
  co_await server.stop();
  co_await ending_.wait();
  co_return Outcome<>{};
}

Task<Outcome<>> Daemon::mount_first(fuse::Mounts& mounts) {
  if (!options_.mount) co_return Outcome<>{};
  const fuse::MountOptions& first = *options_.mount;
  auto directory = co_await mounts.mount(first);
  if (!directory) co_return std::unexpected(directory.error());
  mounted_on_ = *directory;
  mounts.on_last_gone = [this, &mounts] {
    ending_.add();
    spawn(end_without_mounts(mounts));
  };
  co_return Outcome<>{};
}

Task<void> Daemon::end_without_mounts(fuse::Mounts& mounts) {
  co_await sleep_for(reactor_, kAfterLastMount);
  if (mounts.empty()) ::kill(getpid(), SIGTERM);
  ending_.done();
}

Service Daemon::service(fuse::Mounts& mounts) const {
  const bool running = !listening_.empty();
  return {.store = options_.store,
          .places = running ? listening_ : default_places(options_.store),
          .running = running,
          .low_space_percent = options_.low_space.empty() ? 0 : options_.low_space.front(),
          .mounts = &mounts};
}

Outcome<> Daemon::listen(nbd::Server& server) {
  for (const auto& spec : options_.nbd.specs) {
    auto listening = server.listen(spec);
    if (!listening) return std::unexpected(listening.error());
    listening_.push_back({*listening, spec.permissions});
  }
  if (!options_.nbd.specs.empty()) warn_of_clients();
  return {};
}

// What the administrator should know before the first client finds out.
void Daemon::warn_of_clients() const {
  const std::string descriptors = raise_descriptor_limit(options_.nbd);
  if (!descriptors.empty()) log_warning(descriptors);
  const std::string keys = options_.nbd.credentials ? options_.nbd.credentials->warning() : "";
  if (!keys.empty()) log_warning(keys);
}

void Daemon::announce() const {
  if (options_.mounted) {
    options_.mounted(mounted_on_);
    return;
  }
  Json uris = Json::array();
  for (const auto& place : listening_) uris.push_back(nbd::export_uri(place.endpoint, ""));
  if (options_.json) {
    std::printf("%s\n", to_line({{"listening", uris}}).c_str());
  } else {
    for (const auto& uri : uris) std::printf("listening on %s\n", uri.get<std::string>().c_str());
  }
  std::fflush(stdout);
  log_line("serving " + what_ + (read_only_ ? ", read-only" : ""));
  notify_service_manager("READY=1");
}

Task<void> Daemon::wait_for_signal() {
  signalfd_siginfo info{};
  ssize_t got = -1;
  while (got != sizeof info) {
    const std::int32_t events = co_await reactor_.poll(signals_, POLLIN);
    if (events > 0) got = read(signals_, &info, sizeof info);
  }
  log_line(std::string("stopping: ") + strsignal(static_cast<int>(info.ssi_signo)));
}

}  // namespace

Outcome<> run_daemon(const DaemonOptions& options) {
  const std::string caution = serve_below_file_systems();
  auto signals = signals_as_descriptor();
  if (!signals) return std::unexpected(signals.error());
  auto reactor = Reactor::create(log_warning);
  if (!reactor) return refuse(reactor.error(), "store " + options.store);
  Daemon daemon(**reactor, options, signals->get(), caution);
  auto outcome = (*reactor)->run(daemon.run());
  if (outcome && !options.null) log_line("stopped: store " + options.store + " is closed");
  return outcome;
}

}  // namespace coppice::cli
