#include <charconv>
#include <memory>

#include "cli/policy_text.h"
#include "cli/time_text.h"
#include "cli/tree_picture.h"
#include "cli/verb.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string disk;
  std::string depth;
  std::string since;
  bool all = false;
};

Outcome<TreeView> view_of(const Options& options, Context& context) {
  TreeView view;
  view.all = options.all;
  if (!options.depth.empty()) {
    const char* end = options.depth.data() + options.depth.size();
    const auto [stop, error] = std::from_chars(options.depth.data(), end, view.depth);
    if (error != std::errc() || stop != end)
      return refuse(ErrorKind::kInvalid, "--depth: '" + options.depth + "' is no number: give 0, 1, 2 …");
  }
  if (!options.since.empty()) {
    const auto since = parse_past(options.since, now_unix_ms());
    if (!since) return refuse(ErrorKind::kInvalid, "--since: " + since.error().message);
    view.since_unix_ms = *since;
  }
  view.own_bytes = [&context](const Spec& first, const Spec& last) -> std::optional<std::uint64_t> {
    const Json params{{"specs", {first.text() + "%" + last.snapshot}}, {"own_only", true}};
    auto space = context.session.call(Request{.method = "space-of", .params = params});
    if (!space) return std::nullopt;
    return space->value("own", std::uint64_t{0});
  };
  return view;
}

Outcome<int> tree(const Options& options, Context& context) {
  auto view = view_of(options, context);
  if (!view) return std::unexpected(view.error());
  Json params = Json::object();
  if (!options.disk.empty()) params["disk"] = options.disk;
  auto document = context.session.call(Request{.method = "tree", .params = params});
  if (!document) return std::unexpected(document.error());
  auto nodes = nodes_from_json(document->value("nodes", Json::array()));
  if (!nodes) return std::unexpected(nodes.error());
  context.print(*document, [&](const Json&) {
    return nodes->empty() ? std::string("no disks yet: coppice create NAME --size 10G\n")
                          : draw_tree(*nodes, now_unix_ms(), *view);
  });
  context.warn(old_snapshots_text(*nodes, now_unix_ms()));
  return kYes;
}

}  // namespace

Verb tree_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program, {"tree", "Draw the snapshot tree: branches, ages, sizes, where each disk stands",
                          "coppice tree web --since 14d"});
  parser.optional_argument("DISK", options->disk, "Only the tree of this disk")
      .option({"--depth", "N", "Draw branches of branches N deep, 0: none; deeper ones are counted"},
              options->depth)
      .option({"--since", "WHEN",
               "Fold the snapshots that are older: 90m, 72h, 14d, 4w ago, or an RFC 3339 time"},
              options->since)
      .flag("--all", options->all, "Fold nothing; else a long run of plain snapshots is one line")
      .exclusive("--all", "--since");
  return {parser, [options](Context& context) { return tree(*options, context); }};
}

}  // namespace coppice::cli
