#include "cli/node_json.h"

#include <algorithm>
#include <tuple>

#include "cli/time_text.h"

namespace coppice::cli {
namespace {

constexpr const char* kKindNames[] = {"head", "snapshot", "deleted", "changes"};

std::string name_of(const NodeInfo& node) {
  if (node.kind == NodeInfo::Kind::kDeleted) return {};
  return Spec{node.disk, node.snapshot}.text();
}

std::unexpected<Failure> not_a_node() {
  return refuse(ErrorKind::kUnsupported,
                "the daemon's answer is not understood: restart `coppice serve` with this version");
}

}  // namespace

std::string text_of(const Json& document, const char* key) {
  const Json value = document.value(key, Json());
  return value.is_string() ? value.get<std::string>() : std::string();
}

std::string to_line(const Json& document) {
  return document.dump(-1, ' ', false, Json::error_handler_t::replace);
}

namespace {

Json flatten_to_json(const std::optional<FlattenInfo>& flatten) {
  if (!flatten) return nullptr;
  return {{"running", flatten->running},
          {"copied", flatten->copied_bytes},
          {"total", flatten->total_bytes},
          {"problem", flatten->problem}};
}

Json base_to_json(const std::optional<BaseInfo>& base) {
  if (!base) return nullptr;
  return {{"path", base->path},
          {"format", base->format == BaseFormat::kQcow2 ? "qcow2" : "raw"},
          {"size", base->size_bytes},
          {"problem", base->problem},
          {"flatten", flatten_to_json(base->flatten)}};
}

// An older daemon's answer has none.
std::optional<BaseInfo> base_from_json(const Json& document) {
  const Json base = document.value("base", Json());
  if (base.is_null()) return std::nullopt;
  const bool raw = base.value("format", "raw") != "qcow2";
  BaseInfo info{base.at("path").get<std::string>(), raw ? BaseFormat::kRaw : BaseFormat::kQcow2,
                base.at("size").get<std::uint64_t>(), base.at("problem").get<std::string>(), std::nullopt};
  const Json& flatten = base.at("flatten");
  if (!flatten.is_null()) {
    info.flatten =
        FlattenInfo{flatten.at("running").get<bool>(), flatten.at("copied").get<std::uint64_t>(),
                    flatten.at("total").get<std::uint64_t>(), flatten.at("problem").get<std::string>()};
  }
  return info;
}

}  // namespace

Json node_to_json(const NodeInfo& node) {
  return {{"id", node.id},
          {"parent", node.parent},
          {"name", name_of(node)},
          {"kind", kKindNames[static_cast<std::size_t>(node.kind)]},
          {"disk", node.disk},
          {"snapshot", node.snapshot},
          {"size", node.size_bytes},
          {"created", format_time(node.created_unix_ms)},
          {"note", node.note},
          {"strict", node.policy.strict},
          {"clones", node.clones},
          {"attachments", node.attachments},
          {"holds", node.holds},
          {"expires", time_or_null(node.expires_unix_ms)},
          {"scheduled", node.scheduled},
          {"group", node.group.id == 0 ? Json() : Json{{"id", node.group.id}, {"taken", node.group.taken}}},
          {"base", base_to_json(node.base)},
          {"quota", node.quota.limit_bytes == 0 ? Json() : Json(node.quota.limit_bytes)},
          {"charged", node.quota.charged_bytes ? Json(*node.quota.charged_bytes) : Json()}};
}

Outcome<NodeInfo> node_from_json(const Json& document) {
  // The library throws on a wrong type or a missing key; here that is one answer: not a node.
  try {
    NodeInfo node;
    std::string kind_name = document.at("kind").get<std::string>();
    if (kind_name == "disk") kind_name = "head";
    const auto kind = std::ranges::find(kKindNames, kind_name);
    const auto created = parse_time(document.at("created").get<std::string>());
    if (kind == std::end(kKindNames) || !created) return not_a_node();
    node.id = document.at("id").get<std::uint64_t>();
    node.parent = document.at("parent").get<std::uint64_t>();
    node.kind = static_cast<NodeInfo::Kind>(kind - std::begin(kKindNames));
    node.disk = document.at("disk").get<std::string>();
    node.snapshot = document.at("snapshot").get<std::string>();
    node.note = document.at("note").get<std::string>();
    node.size_bytes = document.at("size").get<std::uint64_t>();
    node.created_unix_ms = *created;
    node.policy.strict = document.at("strict").get<bool>();
    node.clones = document.at("clones").get<std::vector<std::string>>();
    node.attachments = document.at("attachments").get<std::uint64_t>();
    const Json& expires = document.at("expires");
    if (!expires.is_null()) node.expires_unix_ms = parse_time(expires.get<std::string>()).value_or(0);
    node.scheduled = document.at("scheduled").get<bool>();
    const Json& quota = document.at("quota");
    if (!quota.is_null()) node.quota.limit_bytes = quota.get<std::uint64_t>();
    const Json& charged = document.at("charged");
    if (!charged.is_null()) node.quota.charged_bytes = charged.get<std::uint64_t>();
    node.holds = document.at("holds").get<std::vector<std::string>>();
    node.base = base_from_json(document);
    const Json group = document.value("group", Json());
    if (!group.is_null())
      node.group = {group.at("id").get<std::uint64_t>(), group.at("taken").get<std::uint64_t>()};
    return node;
  } catch (const Json::exception&) {
    return not_a_node();
  }
}

Outcome<std::vector<NodeInfo>> nodes_from_json(const Json& documents) {
  std::vector<NodeInfo> nodes;
  for (const auto& document : documents) {
    auto node = node_from_json(document);
    if (!node) return std::unexpected(node.error());
    nodes.push_back(std::move(*node));
  }
  return nodes;
}

Json tree_to_json(const std::vector<NodeInfo>& nodes) {
  Json all = Json::array();
  Json heads = Json::array();
  for (const auto& node : nodes) {
    all.push_back(node_to_json(node));
    if (node.kind != NodeInfo::Kind::kHead) continue;
    heads.push_back({{"disk", node.disk}, {"at", node.parent}, {"id", node.id}});
  }
  return {{"nodes", all}, {"heads", heads}};
}

Json listing_to_json(std::vector<NodeInfo> nodes) {
  std::erase_if(nodes, [](const NodeInfo& node) { return node.kind == NodeInfo::Kind::kDeleted; });
  std::ranges::sort(nodes, {}, [](const NodeInfo& node) {
    const bool is_snapshot = node.kind != NodeInfo::Kind::kHead;
    return std::tuple(node.disk, is_snapshot, is_snapshot ? node.created_unix_ms : 0, node.id);
  });
  Json listing = Json::array();
  for (const auto& node : nodes) {
    Json entry = node_to_json(node);
    if (node.kind == NodeInfo::Kind::kHead) entry["kind"] = "disk";
    listing.push_back(std::move(entry));
  }
  return listing;
}

Json trash_to_json(const std::vector<TrashInfo>& disks) {
  Json all = Json::array();
  for (const auto& disk : disks) {
    all.push_back({{"name", disk.disk},
                   {"size", disk.size_bytes},
                   {"snapshots", disk.snapshots},
                   {"frees", disk.frees_bytes},
                   {"removed", format_time(disk.removed_unix_ms)},
                   {"until", format_time(disk.until_unix_ms)}});
  }
  return all;
}

Json schedule_to_json(const std::string& disk, const ScheduleInfo& info) {
  Json snapshots = Json::array();
  Json removes = Json::array();
  for (const auto& snapshot : info.snapshots) {
    snapshots.push_back({{"name", snapshot.spec.text()},
                         {"created", format_time(snapshot.created_unix_ms)},
                         {"kept_as", snapshot.kept_as}});
    if (snapshot.kept_as.empty()) removes.push_back(snapshot.spec.text());
  }
  return {{"name", disk},
          {"hourly", info.rules.hourly},
          {"daily", info.rules.daily},
          {"weekly", info.rules.weekly},
          {"monthly", info.rules.monthly},
          {"next", time_or_null(info.next_unix_ms)},
          {"snapshots", snapshots},
          {"removes", removes},
          {"frees", info.frees_bytes}};
}

Json time_or_null(std::int64_t unix_ms) {
  return unix_ms == 0 ? Json() : Json(format_time(unix_ms));
}

Json space_to_json(const std::vector<SpaceInfo>& spaces) {
  Json all = Json::array();
  for (const auto& space : spaces) {
    Json row{{"name", space.spec.text()},
             {"own", space.own_bytes},
             {"shared", space.shared_bytes},
             {"frees", space.frees_bytes},
             {"disk", nullptr}};
    if (space.disk) row["disk"] = {{"own", space.disk->own_bytes}, {"shared", space.disk->shared_bytes}};
    if (space.disk) {
      const QuotaInfo& quota = space.disk->quota;
      row["disk"]["quota"] = quota.limit_bytes == 0 ? Json() : Json(quota.limit_bytes);
      row["disk"]["charged"] = quota.charged_bytes ? Json(*quota.charged_bytes) : Json();
    }
    all.push_back(std::move(row));
  }
  return all;
}

Json pools_to_json(const std::vector<PoolInfo>& pools) {
  Json all = Json::array();
  for (const auto& pool : pools) {
    all.push_back({{"path", pool.path},
                   {"size", pool.size_bytes},
                   {"used", pool.used_bytes},
                   {"reserved", pool.reserved_bytes},
                   {"grows", pool.grows},
                   {"room", pool.room_bytes}});
  }
  return all;
}

Json reclaim_to_json(const ReclaimInfo& reclaim) {
  return {{"nodes", reclaim.nodes}, {"looked", reclaim.looked_bytes}, {"total", reclaim.total_bytes}};
}

Json diff_to_json(const std::vector<DiffRange>& ranges) {
  Json all = Json::array();
  for (const auto& range : ranges) {
    all.push_back({{"offset", range.offset_bytes}, {"length", range.length_bytes}, {"zero", range.zero}});
  }
  return all;
}

Json check_to_json(const CheckReport& report) {
  return {{"leaves", report.leaves},
          {"blocks", report.blocks},
          {"unverifiable", report.unverifiable},
          {"metadata_copy", report.metadata_copy},
          {"metadata_copy_bytes", report.metadata_copy_bytes},
          {"problems", report.problems}};
}

}  // namespace coppice::cli
