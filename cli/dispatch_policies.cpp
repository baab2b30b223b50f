// The verbs that end something, or say when it ends.
#include <algorithm>
#include <set>

#include "cli/dispatcher.h"
#include "cli/params.h"

namespace coppice::cli {
namespace {

Outcome<> each_once(const std::vector<Spec>& specs) {
  std::set<std::string> names;
  for (const Spec& spec : specs) {
    if (names.insert(spec.text()).second) continue;
    return refuse(ErrorKind::kInvalid, spec.text() + " is named twice: name it once");
  }
  return {};
}

Json names_of(const std::vector<Spec>& specs) {
  Json names = Json::array();
  for (const auto& spec : specs) names.push_back(spec.text());
  return names;
}

}  // namespace

namespace {

Json removal(const std::vector<Spec>& removed, const std::vector<Spec>& trashed, std::int64_t until_ms) {
  return {{"removed", names_of(removed)},    {"trashed", names_of(trashed)},
          {"until", time_or_null(until_ms)}, {"dry_run", false},
          {"keeps_changes", false},          {"frees", nullptr}};
}

}  // namespace

// Disks go to the trash, unless `now`.
Task<Outcome<Json>> Dispatcher::remove(Call call) {
  Params params(call.params);
  std::vector<Selection> selections = params.selections("specs");
  const bool with_snapshots = params.flag("with_snapshots");
  const bool at_once = params.flag("now");
  const bool dry_run = params.flag("dry_run");
  const bool keep_changes = params.flag("keep_changes");
  const bool groups = params.flag("group");
  auto valid = params.finish();
  if (!valid) co_return std::unexpected(valid.error());
  auto expanded = co_await expand(store_, std::move(selections), {.groups = groups});
  if (!expanded) co_return std::unexpected(expanded.error());
  const std::vector<Spec>& specs = *expanded;
  valid = each_once(specs);
  for (const Spec& spec : specs) {
    if (valid && keep_changes) valid = need_snapshot(spec, "rm --keep-changes");
  }
  if (!valid) co_return std::unexpected(valid.error());
  std::vector<Spec> disks;
  if (!at_once) {
    std::ranges::copy_if(specs, std::back_inserter(disks),
                         [](const Spec& spec) { return !spec.is_snapshot(); });
  }
  if (dry_run) {
    auto preview = co_await store_.preview_removal(specs, with_snapshots, !at_once);
    if (!preview) co_return std::unexpected(preview.error());
    Json answer = removal(preview->specs, disks, 0);
    answer["dry_run"] = true;
    answer["frees"] = preview->frees_bytes;
    co_return answer;
  }
  if (disks.empty()) {
    Outcome<> removed;
    if (keep_changes) {
      removed = co_await store_.keep_changes(specs);
    } else {
      removed = co_await store_.remove(specs, with_snapshots);
    }
    if (!removed) co_return std::unexpected(removed.error());
    Json answer = removal(specs, {}, 0);
    answer["keeps_changes"] = keep_changes;
    co_return answer;
  }
  auto until = co_await store_.trash(specs, with_snapshots);
  if (!until) co_return std::unexpected(until.error());
  co_return removal(specs, disks, *until);
}

Task<Outcome<Json>> Dispatcher::undelete(Call call) {
  Params params(call.params);
  const std::string disk = params.text("disk");
  const std::string name = params.text_or("name", disk);
  const auto valid = all_of({params.finish(), need_disk(disk), need_disk(name)});
  if (!valid) co_return std::unexpected(valid.error());
  auto back = co_await store_.undelete(disk, name);
  if (!back) co_return std::unexpected(back.error());
  co_return Json{{"from", disk}, {"name", name}};
}

Task<Outcome<Json>> Dispatcher::purge(Call call) {
  Params params(call.params);
  const std::vector<Spec> specs = params.specs("disks");
  auto valid = all_of({params.finish(), each_once(specs)});
  std::vector<std::string> disks;
  for (const Spec& spec : specs) {
    if (valid) valid = need_disk(spec.text());
    disks.push_back(spec.disk);
  }
  if (!valid) co_return std::unexpected(valid.error());
  auto removed = co_await store_.purge(disks);
  if (!removed) co_return std::unexpected(removed.error());
  co_return removal(specs, {}, 0);
}

// Without rules: as it is. All rules 0: it ends.
Task<Outcome<Json>> Dispatcher::schedule(Call call) {
  Params params(call.params);
  const std::string disk = params.text("disk");
  const bool change = params.flag("change");
  const bool dry_run = params.flag("dry_run");
  Schedule rules;
  rules.hourly = params.number_or("hourly", 0);
  rules.daily = params.number_or("daily", 0);
  rules.weekly = params.number_or("weekly", 0);
  rules.monthly = params.number_or("monthly", 0);
  const auto valid = all_of({params.finish(), need_disk(disk)});
  if (!valid) co_return std::unexpected(valid.error());
  if (change && !dry_run) {
    auto set = co_await store_.set_schedule(disk, rules);
    if (!set) co_return std::unexpected(set.error());
  }
  const auto asked = change && dry_run ? std::optional(rules) : std::nullopt;
  auto info = co_await store_.schedule(disk, asked);
  if (!info) co_return std::unexpected(info.error());
  co_return schedule_to_json(disk, *info);
}

Task<Outcome<Json>> Dispatcher::expire(Call call) {
  Params params(call.params);
  const Spec snapshot = params.spec("snapshot");
  const std::int64_t expires = params.end_or_never("expires");
  const auto valid = all_of({params.finish(), need_snapshot(snapshot, "expire")});
  if (!valid) co_return std::unexpected(valid.error());
  auto set = co_await store_.set_expiry(snapshot, expires);
  if (!set) co_return std::unexpected(set.error());
  co_return Json{{"name", snapshot.text()}, {"expires", time_or_null(expires)}};
}

Task<Outcome<Json>> Dispatcher::hold(Call call) {
  Params params(call.params);
  const Spec snapshot = params.spec("snapshot");
  const std::string tag = params.text("tag");
  const auto valid = all_of({params.finish(), need_snapshot(snapshot, "hold"), check_name(tag)});
  if (!valid) co_return std::unexpected(valid.error());
  auto held = co_await store_.hold(snapshot, tag);
  if (!held) co_return std::unexpected(held.error());
  co_return Json{{"name", snapshot.text()}, {"tag", tag}};
}

// Without a tag: the only one.
Task<Outcome<Json>> Dispatcher::release(Call call) {
  Params params(call.params);
  const Spec snapshot = params.spec("snapshot");
  const std::string tag = params.text_or("tag", "");
  auto valid = all_of({params.finish(), need_snapshot(snapshot, "release")});
  if (valid && !tag.empty()) valid = check_name(tag);
  if (!valid) co_return std::unexpected(valid.error());
  auto released = co_await store_.release(snapshot, tag);
  if (!released) co_return std::unexpected(released.error());
  co_return Json{{"name", snapshot.text()}, {"tag", *released}};
}

}  // namespace coppice::cli
