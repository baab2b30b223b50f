#include <memory>

#include "cli/table.h"
#include "cli/verb.h"
#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

std::string bytes(const Json& entry, const char* key) {
  return format_size(entry.value(key, std::uint64_t{0}));
}

std::string render_spaces(const Json& spaces) {
  using enum Table::Align;
  Table table({kLeft, kRight, kRight, kRight});
  table.add({"NAME", "OWN", "SHARED", "RM FREES"});
  for (const auto& space : spaces) {
    table.add({space.value("name", ""), bytes(space, "own"), bytes(space, "shared"), bytes(space, "frees")});
  }
  return table.text();
}

std::string render_pools(const Json& pools) {
  using enum Table::Align;
  Table table({kLeft, kRight, kRight, kLeft});
  table.add({"POOL", "USED", "SIZE", ""});
  for (const auto& pool : pools) {
    table.add({pool.value("path", ""), bytes(pool, "used"), bytes(pool, "size"),
               pool.value("grows", false) ? "grows by itself" : ""});
  }
  return table.text();
}

Outcome<int> du(const std::string& disk, Context& context) {
  Json params = Json::object();
  if (!disk.empty()) params["disk"] = disk;
  auto spaces = context.session.call(Request{.method = "space", .params = params});
  if (!spaces) return std::unexpected(spaces.error());
  Json pools = Json::array();
  if (disk.empty() && !context.json) {
    auto asked = context.session.call(Request{.method = "pools"});
    if (!asked) return std::unexpected(asked.error());
    pools = std::move(*asked);
  }
  context.print(*spaces, [&pools](const Json& document) {
    std::string text = document.empty() ? "" : render_spaces(document);
    if (!pools.empty()) text += (text.empty() ? "" : "\n") + render_pools(pools);
    return text;
  });
  return kYes;
}

}  // namespace

Verb du_verb(CLI::App& program) {
  auto disk = std::make_shared<std::string>();
  Parser parser(program, {"du", "Tell what disks and snapshots occupy, and what removing each would free",
                          "coppice du web"});
  parser.optional_argument("DISK", *disk, "Only this disk and its snapshots");
  return {parser, [disk](Context& context) { return du(*disk, context); }};
}

}  // namespace coppice::cli
