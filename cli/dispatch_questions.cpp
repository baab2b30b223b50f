// The verbs that ask.
#include <set>

#include "cli/attachment_json.h"
#include "cli/dispatcher.h"
#include "cli/metrics_text.h"
#include "cli/params.h"

namespace coppice::cli {
namespace {

std::set<std::string> names_in(const std::vector<Spec>& specs) {
  std::set<std::string> names;
  for (const Spec& spec : specs) names.insert(spec.text());
  return names;
}

}  // namespace

Task<Outcome<Json>> Dispatcher::list(Call call) {
  Params params(call.params);
  const bool some = call.params.is_object() && call.params.contains("groups");
  std::vector<Selection> groups = some ? params.selections("groups") : std::vector<Selection>();
  const auto valid = params.finish();
  if (!valid) co_return std::unexpected(valid.error());
  auto members = co_await expand(store_, std::move(groups), {.groups = true});
  if (!members) co_return std::unexpected(members.error());
  auto nodes = co_await store_.tree(std::nullopt);
  if (!nodes) co_return std::unexpected(nodes.error());
  if (some) {
    const std::set<std::string> names = names_in(*members);
    std::erase_if(
        *nodes, [&](const NodeInfo& node) { return !names.contains(Spec{node.disk, node.snapshot}.text()); });
  }
  co_return listing_to_json(std::move(*nodes));
}

Task<Outcome<Json>> Dispatcher::trashed(Call call) {
  const auto valid = Params(call.params).finish();
  if (!valid) co_return std::unexpected(valid.error());
  auto disks = co_await store_.trashed();
  if (!disks) co_return std::unexpected(disks.error());
  co_return trash_to_json(*disks);
}

Task<Outcome<Json>> Dispatcher::info(Call call) {
  Params params(call.params);
  const Spec spec = params.spec("spec");
  const auto valid = params.finish();
  if (!valid) co_return std::unexpected(valid.error());
  auto node = co_await store_.info(spec);
  if (!node) co_return std::unexpected(node.error());
  Json document = node_to_json(*node);
  const bool changes_only = node->kind == NodeInfo::Kind::kChanges;
  if (!changes_only) document["kind"] = spec.is_snapshot() ? "snapshot" : "disk";
  // By name, which is what a person knows it by.
  document["continues"] = node->continues.empty() ? Json() : Json(node->continues);
  if (node->group.id != 0) {
    auto group = co_await store_.group(spec);
    if (!group) co_return std::unexpected(group.error());
    document["group"]["snapshots"] = names_in(group->snapshots);
  }
  bool read_only = spec.is_snapshot() || !store_.read_only().empty();
  document["attached"] = Json::array();
  document["reclaim"] = nullptr;
  if (!spec.is_snapshot()) {
    auto attachments = co_await store_.attachments(spec.disk);
    if (!attachments) co_return std::unexpected(attachments.error());
    document["attached"] = attachments_to_json(spec.disk, *attachments);
    auto reclaim = co_await store_.reclaim(spec.disk);
    if (!reclaim) co_return std::unexpected(reclaim.error());
    if (reclaim->nodes != 0) document["reclaim"] = reclaim_to_json(*reclaim);
    for (const AttachmentInfo& each : *attachments) read_only |= each.state != AttachmentInfo::State::kFenced;
  }
  auto pool =
      co_await fullness(Call{.method = "fullness", .params = Json::object(), .files = {}, .hooks = {}});
  document["pool"] = pool ? *pool : Json::object();
  document["served"] = service_.running;
  // What is left of a snapshot without its data is no export.
  if (changes_only) {
    document["nbd"] = Json::array();
    document["qemu"] = document["libvirt"] = "";
  } else {
    add_places(document, spec.text(), read_only);
  }
  co_return document;
}

Task<Outcome<Json>> Dispatcher::metrics(Call call) {
  const auto valid = Params(call.params).finish();
  if (!valid) co_return std::unexpected(valid.error());
  auto nodes = co_await store_.tree(std::nullopt);
  if (!nodes) co_return std::unexpected(nodes.error());
  auto pools = co_await store_.pools();
  if (!pools) co_return std::unexpected(pools.error());
  auto trash = co_await store_.trashed();
  if (!trash) co_return std::unexpected(trash.error());
  auto reclaim = co_await store_.reclaim(std::nullopt);
  if (!reclaim) co_return std::unexpected(reclaim.error());
  co_return Json{{"text", metrics_text({std::move(*nodes), std::move(*pools), std::move(*trash), *reclaim})}};
}

Task<Outcome<Json>> Dispatcher::tree(Call call) {
  Params params(call.params);
  const auto disk = params.optional_text("disk");
  auto valid = params.finish();
  if (valid && disk) valid = need_disk(*disk);
  if (!valid) co_return std::unexpected(valid.error());
  auto nodes = co_await store_.tree(disk);
  if (!nodes) co_return std::unexpected(nodes.error());
  co_return tree_to_json(*nodes);
}

Task<Outcome<Json>> Dispatcher::pools(Call call) {
  const auto valid = Params(call.params).finish();
  if (!valid) co_return std::unexpected(valid.error());
  auto pools = co_await store_.pools();
  if (!pools) co_return std::unexpected(pools.error());
  co_return pools_to_json(*pools);
}

Task<Outcome<Json>> Dispatcher::diff(Call call) {
  Params params(call.params);
  const Spec from = params.spec("from");
  const Spec to = params.spec("to");
  const std::uint64_t offset = params.number_or("offset", 0);
  const auto valid = params.finish();
  if (!valid) co_return std::unexpected(valid.error());
  auto ranges = co_await store_.diff(from, to, offset);
  if (!ranges) co_return std::unexpected(ranges.error());
  co_return diff_to_json(*ranges);
}

Task<Outcome<Json>> Dispatcher::check(Call call) {
  Params params(call.params);
  const bool read_data = params.flag("data");
  const auto valid = params.finish();
  if (!valid) co_return std::unexpected(valid.error());
  auto report = co_await store_.check(read_data);
  if (!report) co_return std::unexpected(report.error());
  co_return check_to_json(*report);
}

Task<Outcome<Json>> Dispatcher::dump(Call call) {
  const auto valid = Params(call.params).finish();
  if (!valid) co_return std::unexpected(valid.error());
  auto text = co_await store_.dump();
  if (!text) co_return std::unexpected(text.error());
  auto nodes = co_await store_.tree(std::nullopt);
  if (!nodes) co_return std::unexpected(nodes.error());
  auto pools = co_await store_.pools();
  if (!pools) co_return std::unexpected(pools.error());
  co_return Json{{"text", *text}, {"tree", tree_to_json(*nodes)}, {"pools", pools_to_json(*pools)}};
}

}  // namespace coppice::cli
