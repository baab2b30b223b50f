#include <memory>

#include "cli/policy_text.h"
#include "cli/time_text.h"
#include "cli/tree_picture.h"
#include "cli/verb.h"

namespace coppice::cli {
namespace {

Outcome<int> tree(const std::string& disk, Context& context) {
  Json params = Json::object();
  if (!disk.empty()) params["disk"] = disk;
  auto document = context.session.call(Request{.method = "tree", .params = params});
  if (!document) return std::unexpected(document.error());
  auto nodes = nodes_from_json(document->value("nodes", Json::array()));
  if (!nodes) return std::unexpected(nodes.error());
  context.print(*document, [&nodes](const Json&) {
    return nodes->empty() ? std::string("no disks yet: coppice create NAME --size 10G\n")
                          : draw_tree(*nodes, now_unix_ms());
  });
  context.warn(old_snapshots_text(*nodes, now_unix_ms()));
  return kYes;
}

}  // namespace

Verb tree_verb(CLI::App& program) {
  auto disk = std::make_shared<std::string>();
  Parser parser(program, {"tree", "Draw the snapshot tree: branches, ages, sizes, where each disk stands",
                          "coppice tree web"});
  parser.optional_argument("DISK", *disk, "Only the tree of this disk");
  return {parser, [disk](Context& context) { return tree(*disk, context); }};
}

}  // namespace coppice::cli
