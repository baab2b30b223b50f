#include "cli/direct_store.h"

#include "cli/interrupt.h"
#include "cli/store_directory.h"
#include "cli/time_text.h"

namespace coppice::cli {

Outcome<DirectStore> DirectStore::open(const std::string& directory, OpenMode mode,
                                       std::chrono::seconds lock_wait, Notice notice) {
  DirectStore direct;
  auto reactor = Reactor::create(notice);
  if (!reactor) return refuse(reactor.error(), "store " + directory);
  direct.reactor_ = std::move(*reactor);
  OpenOptions options;
  options.directory = directory;
  options.mode = mode;
  options.lock_wait = lock_wait;
  options.notice = std::move(notice);
  options.wall_clock = now_unix_ms;
  auto store = direct.reactor_->run(open_store(*direct.reactor_, std::move(options)));
  if (!store) return std::unexpected(store.error());
  direct.store_ = std::move(*store);
  Service service{directory, default_places(directory), false};
  direct.dispatcher_ = std::make_unique<Dispatcher>(*direct.reactor_, *direct.store_, std::move(service));
  return direct;
}

Outcome<Json> DirectStore::call(const Request& request) {
  Call call{request.method, request.params, {}, {}};
  if (request.file >= 0) call.files.push_back(request.file);
  call.hooks.progress = request.progress;
  call.hooks.wanted = [] { return !interrupted(); };
  auto answer = reactor_->run(dispatcher_->call(std::move(call)));
  reclaim_due_ |=
      answer && (request.method == "remove" || request.method == "purge" || request.method == "rollback");
  return answer;
}

Outcome<> DirectStore::close() {
  Outcome<> outcome;
  // No daemon will do it later: what was removed gives its space back now.
  if (reclaim_due_) outcome = reactor_->run(store_->wait_for_reclaim());
  auto closed = reactor_->run(store_->close());
  dispatcher_.reset();
  store_.reset();
  return outcome ? closed : outcome;
}

}  // namespace coppice::cli
