// The verbs that change something. Every one reads its parameters to the end before it begins.
#include "cli/dispatcher.h"
#include "cli/params.h"
#include "formats/export_image.h"
#include "formats/import_image.h"

namespace coppice::cli {
namespace {

Outcome<> one_file(const Call& call) {
  if (call.files.size() == 1) return {};
  return refuse(ErrorKind::kInvalid, call.method + " needs one descriptor, got " +
                                         std::to_string(call.files.size()) + ": pass it beside the request");
}

}  // namespace

Task<Outcome<Json>> Dispatcher::create(Call call) {
  if (call.params.is_object() && call.params.contains("base")) {
    auto over = co_await create_over(std::move(call));
    co_return over;
  }
  Params params(call.params);
  const std::string disk = params.text("disk");
  const std::uint64_t size = params.number("size");
  const DiskPolicy policy{.strict = params.flag("strict")};
  const auto valid = all_of({params.finish(), need_disk(disk)});
  if (!valid) co_return std::unexpected(valid.error());
  auto made = co_await store_.create_disk(disk, size, policy);
  if (!made) co_return std::unexpected(made.error());
  co_return Json{{"name", disk}, {"size", size}, {"strict", policy.strict}, {"base", nullptr}};
}

Task<Outcome<Json>> Dispatcher::snapshot(Call call) {
  Params params(call.params);
  const std::vector<Spec> specs = params.specs("specs");
  SnapshotOptions options;
  options.note = params.text_or("note", "");
  options.expires_unix_ms = params.end_or_never("expires");
  auto valid = params.finish();
  for (const auto& spec : specs) {
    if (valid) valid = need_snapshot(spec, "snapshot");
  }
  if (!valid) co_return std::unexpected(valid.error());
  auto made = co_await store_.snapshot(specs, options);
  if (!made) co_return std::unexpected(made.error());
  Json names = Json::array();
  for (const auto& spec : specs) names.push_back(spec.text());
  co_return Json{{"snapshots", names}};
}

Task<Outcome<Json>> Dispatcher::rollback(Call call) {
  Params params(call.params);
  std::vector<Spec> to = params.specs("specs");
  const bool groups = params.flag("group");
  RollbackOptions options;
  options.keep_as = params.text_or("keep_as", "");
  options.discard = params.flag("discard");
  options.dry_run = params.flag("dry_run");
  options.online = params.flag("online");
  auto valid = params.finish();
  for (const auto& spec : to) {
    if (valid) valid = need_snapshot(spec, "rollback");
  }
  if (valid && !options.keep_as.empty()) valid = check_name(options.keep_as);
  if (valid && options.discard && !options.keep_as.empty()) {
    valid = refuse(ErrorKind::kInvalid,
                   "rollback of " + to.front().disk + " can't both keep and discard: choose one");
  }
  if (!valid) co_return std::unexpected(valid.error());
  if (groups) {
    auto all = co_await with_groups(store_, std::move(to), GroupNeed::kWhole);
    if (!all) co_return std::unexpected(all.error());
    to = std::move(*all);
  }
  auto kept = co_await store_.rollback(to, options);
  if (!kept) co_return std::unexpected(kept.error());
  Json disks = Json::array();
  std::vector<Spec> heads;
  for (const Spec& spec : to) {
    disks.push_back({{"disk", spec.disk},
                     {"to", spec.text()},
                     {"kept", kept->empty() ? Json() : Json(Spec{spec.disk, *kept}.text())}});
    heads.push_back({spec.disk, {}});
  }
  // Of one disk as ever, beside the list.
  Json answer = disks.size() == 1 ? disks.front() : Json::object();
  answer.update({{"disks", disks}, {"dry_run", options.dry_run}, {"frees", nullptr}});
  if (!options.dry_run) co_return answer;
  answer["frees"] = 0;
  if (!options.discard) co_return answer;
  auto space = co_await store_.space_of(heads, true);
  if (!space) co_return std::unexpected(space.error());
  answer["frees"] = space->own_bytes;
  co_return answer;
}

Task<Outcome<Json>> Dispatcher::clone(Call call) {
  Params params(call.params);
  const Spec from = params.spec("from");
  const std::string disk = params.text("disk");
  const auto valid = all_of({params.finish(), need_snapshot(from, "clone"), need_disk(disk)});
  if (!valid) co_return std::unexpected(valid.error());
  auto made = co_await store_.clone(from, disk);
  if (!made) co_return std::unexpected(made.error());
  co_return Json{{"name", disk}, {"from", from.text()}};
}

// `to` is a bare name; for a snapshot "disk@new" is understood too, if it names the same disk.
Task<Outcome<Json>> Dispatcher::rename(Call call) {
  Params params(call.params);
  const Spec from = params.spec("from");
  Spec to = params.spec("to");
  const auto valid = params.finish();
  if (!valid) co_return std::unexpected(valid.error());
  if (to.is_snapshot() && to.disk != from.disk) {
    co_return refuse(ErrorKind::kInvalid, "a snapshot stays with its disk: name " + from.text() + " " +
                                              from.disk + "@" + to.snapshot + ", not " + to.text());
  }
  if (to.is_snapshot() && !from.is_snapshot()) {
    co_return refuse(ErrorKind::kInvalid, to.text() + " is no name for a disk: leave out the @");
  }
  const std::string name = to.is_snapshot() ? to.snapshot : to.disk;
  auto renamed = co_await store_.rename(from, name);
  if (!renamed) co_return std::unexpected(renamed.error());
  const Spec now = from.is_snapshot() ? Spec{from.disk, name} : Spec{name, {}};
  co_return Json{{"from", from.text()}, {"name", now.text()}};
}

Task<Outcome<Json>> Dispatcher::resize(Call call) {
  Params params(call.params);
  const std::string disk = params.text("disk");
  const std::uint64_t size = params.number("size");
  const auto valid = all_of({params.finish(), need_disk(disk)});
  if (!valid) co_return std::unexpected(valid.error());
  auto resized = co_await store_.resize(disk, size);
  if (!resized) co_return std::unexpected(resized.error());
  co_return Json{{"name", disk}, {"size", size}};
}

Task<Outcome<Json>> Dispatcher::set(Call call) {
  Params params(call.params);
  const std::string disk = params.text("disk");
  const DiskPolicy policy{.strict = params.yes_or_no("strict")};
  const auto valid = all_of({params.finish(), need_disk(disk)});
  if (!valid) co_return std::unexpected(valid.error());
  auto changed = co_await store_.set_policy(disk, policy);
  if (!changed) co_return std::unexpected(changed.error());
  co_return Json{{"name", disk}, {"strict", policy.strict}};
}

Task<Outcome<Json>> Dispatcher::import(Call call) {
  Params params(call.params);
  const std::string disk = params.text("disk");
  const bool as_stream = params.flag("stream");
  const bool surely_raw = params.flag("raw");
  const auto valid = all_of({params.finish(), need_disk(disk), one_file(call)});
  if (!valid) co_return std::unexpected(valid.error());
  formats::ImportJob job{call.files.front(), as_stream, surely_raw, disk, std::move(call.hooks)};
  auto size = co_await formats::import_image(reactor_, store_, std::move(job));
  if (!size) co_return std::unexpected(size.error());
  co_return Json{{"name", disk}, {"size", *size}};
}

Task<Outcome<Json>> Dispatcher::export_(Call call) {
  Params params(call.params);
  const Spec from = params.spec("from");
  const bool as_stream = params.flag("stream");
  const auto valid = all_of({params.finish(), one_file(call)});
  if (!valid) co_return std::unexpected(valid.error());
  formats::ExportJob job{from, call.files.front(), as_stream, std::move(call.hooks)};
  auto size = co_await formats::export_image(reactor_, store_, std::move(job));
  if (!size) co_return std::unexpected(size.error());
  co_return Json{{"name", from.text()}, {"size", *size}};
}

}  // namespace coppice::cli
