#include "fuse/mounts.h"

#include <algorithm>
#include <ranges>
#include <utility>

#include "fuse/mount_point.h"
#include "fuse/own_thread.h"

namespace coppice::fuse {

namespace {

constexpr std::chrono::seconds kPatience{5};
constexpr std::chrono::milliseconds kLookInterval{2};

}  // namespace

Mounts::Mounts(Reactor& reactor, Store& store, std::string store_folder, bool recorded, Log log)
    : reactor_(reactor),
      store_(store),
      store_folder_(std::move(store_folder)),
      record_(recorded ? store_folder_ : ""),
      log_(std::move(log)),
      changing_(reactor) {}

std::vector<std::string> Mounts::directories() const {
  std::vector<std::string> all;
  for (const Mounted& mounted : mounted_) {
    if (mounted.ours) all.push_back(mounted.directory);
  }
  return all;
}

Mounts::Mounted* Mounts::find(const std::string& directory) {
  const auto newest_first = mounted_ | std::views::reverse;
  const auto found = std::ranges::find(newest_first, directory, &Mounted::directory);
  return found == newest_first.end() ? nullptr : &*found;
}

Mounts::Mounted* Mounts::find(std::uint64_t number) {
  const auto found = std::ranges::find(mounted_, number, &Mounted::number);
  return found == mounted_.end() ? nullptr : &*found;
}

Task<void> Mounts::clear_dead() {
  for (const std::string& directory : record_.read()) {
    const auto clear = [&directory] { return clear_dead_mount(directory); };
    const auto cleared = co_await on_own_thread(reactor_, clear);
    if (!cleared) log(cleared.error().message);
    if (cleared && *cleared) log("cleared away the mount on " + directory + " that a dead process had left");
  }
  write_record();
}

// On a thread of its own.
Outcome<std::pair<std::string, std::unique_ptr<Session>>> Mounts::make(const MountOptions& options,
                                                                       const std::string& source) {
  if (options.made_by_other >= 0) {
    const std::string name = "a tree of process " + std::to_string(options.other_process);
    auto session = Session::take(options.made_by_other, name);
    if (!session) return std::unexpected(session.error());
    return std::pair{name, std::move(*session)};
  }
  auto directory = prepare_mount_point(options.directory, options.allow_other);
  if (!directory) return std::unexpected(directory.error());
  auto session = Session::mount(*directory, source, options.allow_other);
  if (!session) return std::unexpected(session.error());
  return std::pair{*directory, std::move(*session)};
}

Task<Outcome<std::string>> Mounts::mount(MountOptions options) {
  co_await changing_.lock();
  const auto work = [&] { return make(options, store_folder_); };
  Outcome<std::string> answer =
      refuse(ErrorKind::kBusy, "the daemon is stopping: nothing is mounted any more");
  if (!stopping_) {
    auto made = co_await on_own_thread(reactor_, work);
    if (made) {
      answer = made->first;
      auto files = std::make_unique<FileSystem>(reactor_, store_, made->first, options.look, log_);
      mounted_.push_back(
          {++made_, options.made_by_other < 0, made->first, std::move(made->second), std::move(files)});
      write_record();
      spawn(serve(std::prev(mounted_.end())));
      log("mounted on " + made->first);
      if (!caution.empty()) log(std::exchange(caution, {}));
    } else {
      answer = std::unexpected(made.error());
    }
  }
  changing_.unlock();
  co_return answer;
}

Task<void> Mounts::serve(std::list<Mounted>::iterator mounted) {
  co_await mounted->session->serve(reactor_, *mounted->files);
  log("unmounted from " + mounted->directory);
  mounted_.erase(mounted);
  write_record();
  if (mounted_.empty() && on_last_gone) on_last_gone();
}

Task<Outcome<>> Mounts::detach_and_wait(std::string directory, bool lazy) {
  const auto end = [&] { return detach(directory, lazy ? Detach::kAtOnce : Detach::kIfUnused); };
  auto detached = co_await on_own_thread(reactor_, end);
  if (!detached) co_return detached;
  const Mounted* mounted = find(directory);
  if (mounted != nullptr) co_await wait_until_gone(mounted->number, lazy);
  co_return Outcome<>{};
}

// The kernel ends it when nobody has it any more. Another mount namespace may hold a copy that nobody asked
// for.
Task<void> Mounts::wait_until_gone(std::uint64_t number, bool cut_off) {
  const auto patience = reactor_.now() + kPatience;
  bool cut = false;
  for (Mounted* mounted = find(number); mounted != nullptr; mounted = find(number)) {
    if (!cut && (cut_off || reactor_.now() > patience)) {
      cut = true;
      mounted->session->cut_off();
    }
    co_await sleep_for(reactor_, kLookInterval);
  }
}

Task<Outcome<std::string>> Mounts::unmount(std::string directory, bool lazy) {
  co_await changing_.lock();
  const auto look = [&] { return true_path(directory); };
  auto path = co_await on_own_thread(reactor_, look);
  if (path && find(*path) != nullptr) {
    auto done = co_await detach_and_wait(*path, lazy);
    if (!done) path = std::unexpected(done.error());
  } else if (path) {
    const auto clear = [&path] { return clear_dead_mount(*path); };
    auto cleared = co_await on_own_thread(reactor_, clear);
    if (!cleared) path = std::unexpected(cleared.error());
    if (cleared && !*cleared)
      path = refuse(ErrorKind::kNotFound, directory + " is no mount of store " + store_folder_ +
                                              ": 'findmnt -t fuse.coppice' lists what is mounted");
  }
  changing_.unlock();
  co_return path;
}

Task<void> Mounts::stop() {
  stopping_ = true;
  co_await changing_.lock();
  while (!mounted_.empty()) {
    const std::string directory = mounted_.back().directory;
    const std::uint64_t number = mounted_.back().number;
    if (!mounted_.back().ours) {
      co_await wait_until_gone(number, true);
      continue;
    }
    auto done = co_await detach_and_wait(directory, false);
    if (done) continue;
    log(directory + " is in use: it is unmounted all the same, who has files open there is cut off");
    done = co_await detach_and_wait(directory, true);
    if (done) continue;
    // The name stays behind, and answers ENOTCONN until the next mount clears it away.
    log(done.error().message);
    co_await wait_until_gone(number, true);
  }
  changing_.unlock();
}

}  // namespace coppice::fuse
