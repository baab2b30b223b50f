// The verbs that say what is taken, and what would be free.
#include <algorithm>

#include "cli/dispatcher.h"
#include "cli/params.h"

namespace coppice::cli {

Task<Outcome<Json>> Dispatcher::space(Call call) {
  Params params(call.params);
  const auto disk = params.optional_text("disk");
  auto valid = params.finish();
  if (valid && disk) valid = need_disk(*disk);
  if (!valid) co_return std::unexpected(valid.error());
  auto spaces = co_await store_.space(disk);
  if (!spaces) co_return std::unexpected(spaces.error());
  co_return space_to_json(*spaces);
}

// Of all that is named, together. What they share is not counted, and null, if `own_only`.
Task<Outcome<Json>> Dispatcher::space_of(Call call) {
  Params params(call.params);
  std::vector<Selection> selections = params.selections("specs");
  const bool own_only = params.flag("own_only");
  const bool groups = params.flag("group");
  const auto valid = params.finish();
  if (!valid) co_return std::unexpected(valid.error());
  auto specs = co_await expand(store_, std::move(selections), {.whole_disks = true, .groups = groups});
  if (!specs) co_return std::unexpected(specs.error());
  auto space = co_await store_.space_of(*specs, own_only);
  if (!space) co_return std::unexpected(space.error());
  Json names = Json::array();
  for (const Spec& spec : *specs) {
    if (std::ranges::find(names, Json(spec.text())) == names.end()) names.push_back(spec.text());
  }
  co_return Json{{"names", names},
                 {"own", space->own_bytes},
                 {"shared", own_only ? Json() : Json(space->shared_bytes)},
                 {"frees", space->own_bytes}};
}

// 0: none.
Task<Outcome<Json>> Dispatcher::set_quota(Call call) {
  Params params(call.params);
  const std::string disk = params.text("disk");
  const std::uint64_t limit = params.number("size");
  const auto valid = all_of({params.finish(), need_disk(disk)});
  if (!valid) co_return std::unexpected(valid.error());
  auto set = co_await store_.set_quota(disk, limit);
  if (!set) co_return std::unexpected(set.error());
  auto info = co_await store_.info({disk, {}});
  if (!info) co_return std::unexpected(info.error());
  const Json node = node_to_json(*info);
  co_return Json{{"name", disk}, {"quota", node["quota"]}, {"charged", node["charged"]}};
}

Task<Outcome<Json>> Dispatcher::fullness(Call call) {
  const auto valid = Params(call.params).finish();
  if (!valid) co_return std::unexpected(valid.error());
  auto pools = co_await store_.pools();
  if (!pools) co_return std::unexpected(pools.error());
  const Fullness now = fullness_of(*pools);
  const bool low = service_.low_space_percent != 0 && now.percent >= service_.low_space_percent;
  co_return Json{{"used", now.used_bytes}, {"size", now.size_bytes}, {"percent", now.percent}, {"low", low}};
}

}  // namespace coppice::cli
