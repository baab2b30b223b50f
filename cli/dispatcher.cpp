#include "cli/dispatcher.h"

#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <string_view>

#include "cli/params.h"
#include "cli/rpc.h"
#include "cli/version.h"

namespace coppice::cli {

Dispatcher::Handler Dispatcher::handler_of(const std::string& method) {
  struct Row {
    std::string_view method;
    Handler handler;
  };
  static constexpr Row kRows[] = {
      {"hello", &Dispatcher::hello},       {"create", &Dispatcher::create},
      {"snapshot", &Dispatcher::snapshot}, {"rollback", &Dispatcher::rollback},
      {"clone", &Dispatcher::clone},       {"remove", &Dispatcher::remove},
      {"rename", &Dispatcher::rename},     {"resize", &Dispatcher::resize},
      {"hold", &Dispatcher::hold},         {"release", &Dispatcher::release},
      {"expire", &Dispatcher::expire},     {"undelete", &Dispatcher::undelete},
      {"purge", &Dispatcher::purge},       {"trash", &Dispatcher::trashed},
      {"schedule", &Dispatcher::schedule}, {"set", &Dispatcher::set},
      {"import", &Dispatcher::import},     {"export", &Dispatcher::export_},
      {"list", &Dispatcher::list},         {"info", &Dispatcher::info},
      {"tree", &Dispatcher::tree},         {"space", &Dispatcher::space},
      {"pools", &Dispatcher::pools},       {"metrics", &Dispatcher::metrics},
      {"diff", &Dispatcher::diff},         {"attach", &Dispatcher::attach},
      {"detach", &Dispatcher::detach},     {"fence", &Dispatcher::fence},
      {"check", &Dispatcher::check},       {"dump", &Dispatcher::dump},
      {"set-base", &Dispatcher::set_base}, {"flatten", &Dispatcher::flatten},
      {"space-of", &Dispatcher::space_of}, {"fullness", &Dispatcher::fullness},
      {"quota", &Dispatcher::set_quota},   {"mount", &Dispatcher::mount},
      {"unmount", &Dispatcher::unmount},   {"serve-tree", &Dispatcher::serve_tree},
  };
  const auto row = std::ranges::find(kRows, method, &Row::method);
  return row == std::end(kRows) ? nullptr : row->handler;
}

Task<Outcome<Json>> Dispatcher::call(Call call) {
  const Handler handler = handler_of(call.method);
  if (handler == nullptr) {
    co_return refuse(ErrorKind::kUnsupported, "the daemon of store " + service_.store + " does not know '" +
                                                  call.method +
                                                  "': restart `coppice serve` with this version");
  }
  auto answer = co_await (this->*handler)(std::move(call));
  co_return answer;
}

Task<Outcome<Json>> Dispatcher::hello(Call call) {
  auto checked = Params(call.params).finish();
  if (!checked) co_return std::unexpected(checked.error());
  co_return Json{{"program", "coppice"},
                 {"version", kVersion},
                 {"protocol", kControlProtocol},
                 {"pid", static_cast<std::uint64_t>(getpid())},
                 {"store", service_.store}};
}

}  // namespace coppice::cli
