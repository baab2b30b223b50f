#include <memory>

#include "cli/policy_text.h"
#include "cli/table.h"
#include "cli/time_text.h"
#include "cli/verb.h"
#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

// "2026-11-22T09:50:15.123Z" without the part that no listing needs.
std::string to_the_second(const std::string& time) {
  return time.substr(0, 10) + " " + time.substr(11, 8);
}

std::string kind_of(const NodeInfo& node) {
  if (node.kind == NodeInfo::Kind::kChanges) return "changes";
  return node.kind == NodeInfo::Kind::kSnapshot ? "snapshot" : "disk";
}

std::string remarks(const NodeInfo& node) {
  std::vector<std::string> parts;
  if (node.attachments != 0) parts.emplace_back("in use");
  if (node.policy.strict) parts.emplace_back("strict");
  if (node.base && node.kind != NodeInfo::Kind::kSnapshot) {
    parts.push_back("over " + node.base->path);
    if (!node.base->problem.empty()) parts.push_back("which " + node.base->problem);
  }
  parts.push_back(quota_text(node.quota));
  for (const auto& clone : node.clones) parts.push_back("cloned to " + clone);
  parts.push_back(policy_text(node, now_unix_ms()));
  if (!node.note.empty()) parts.push_back("“" + node.note + "”");
  return joined(parts);
}

std::string render(const std::vector<NodeInfo>& nodes) {
  if (nodes.empty()) return "no disks yet: coppice create NAME --size 10G\n";
  Table table({Table::Align::kLeft, Table::Align::kLeft, Table::Align::kRight, Table::Align::kLeft,
               Table::Align::kLeft});
  table.add({"NAME", "KIND", "SIZE", "CREATED (UTC)", ""});
  for (const auto& node : nodes) {
    table.add({Spec{node.disk, node.snapshot}.text(), kind_of(node), format_size(node.size_bytes),
               to_the_second(format_time(node.created_unix_ms)), remarks(node)});
  }
  return table.text();
}

std::string render_trash(const Json& trash) {
  if (trash.empty()) return "the trash is empty\n";
  Table table({Table::Align::kLeft, Table::Align::kRight, Table::Align::kRight, Table::Align::kRight,
               Table::Align::kLeft, Table::Align::kLeft});
  table.add({"NAME", "SIZE", "SNAPSHOTS", "FREES", "REMOVED (UTC)", "KEPT UNTIL"});
  for (const Json& disk : trash) {
    table.add({disk.value("name", ""), format_size(disk.value("size", std::uint64_t{0})),
               std::to_string(disk.value("snapshots", std::uint64_t{0})),
               format_size(disk.value("frees", std::uint64_t{0})), to_the_second(disk.value("removed", "")),
               to_the_second(disk.value("until", ""))});
  }
  return table.text();
}

struct Options {
  bool trash = false;
  std::vector<std::string> groups;
};

Outcome<int> list(const Options& options, Context& context) {
  if (options.trash) return context.answer(Request{.method = "trash"}, render_trash);

  Json params = Json::object();
  if (!options.groups.empty()) params["groups"] = options.groups;
  auto listing = context.session.call(Request{.method = "list", .params = params});
  if (!listing) return std::unexpected(listing.error());
  auto nodes = nodes_from_json(*listing);
  if (!nodes) return std::unexpected(nodes.error());
  context.print(*listing, [&nodes](const Json&) { return render(*nodes); });
  context.warn(old_snapshots_text(*nodes, now_unix_ms()));
  context.warn_low_space();
  return kYes;
}

}  // namespace

Verb ls_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program, {"ls", "List disks and snapshots", "coppice ls --json"});
  parser.flag("--trash", options->trash, "List the removed disks that can be brought back instead")
      .repeated_option(
          {"--group", "DISK@SNAP", "List only this snapshot and those that were taken together with it"},
          options->groups)
      .exclusive("--trash", "--group");
  return {parser, [options](Context& context) { return list(*options, context); }};
}

}  // namespace coppice::cli
