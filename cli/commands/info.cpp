#include <algorithm>
#include <memory>

#include "cli/policy_text.h"
#include "cli/table.h"
#include "cli/time_text.h"
#include "cli/verb.h"
#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

std::string indented(const std::string& text) {
  std::string all = "  ";
  for (const char byte : text) {
    all += byte;
    if (byte == '\n') all += "  ";
  }
  while (all.ends_with(' ') || all.ends_with('\n')) all.pop_back();
  return all + "\n";
}

std::string age(const std::string& time) {
  const auto created = parse_time(time);
  return created ? time + " (" + format_age(*created, now_unix_ms()) + ")" : time;
}

std::string base_text(const Json& base) {
  const std::string problem = base.value("problem", "");
  return base.value("path", "") + ", " + format_size(base.value("size", std::uint64_t{0})) +
         (problem.empty() ? ", read only" : ", which " + problem);
}

std::string flatten_text(const Json& flatten) {
  const std::string far = format_size(flatten.value("copied", std::uint64_t{0})) + " of " +
                          format_size(flatten.value("total", std::uint64_t{0}));
  if (flatten.value("running", false)) return "the base is being copied into the pool: " + far;
  return "ended at " + far + ": " + flatten.value("problem", "");
}

std::string reclaim_text(const Json& reclaim) {
  const auto nodes = reclaim.value("nodes", std::uint64_t{0});
  const auto looked = reclaim.value("looked", std::uint64_t{0});
  const auto total = std::max(reclaim.value("total", std::uint64_t{0}), std::uint64_t{1});
  return std::to_string(nodes) + (nodes == 1 ? " removed snapshot, " : " removed snapshots, ") +
         std::to_string(
             static_cast<unsigned>(100.0 * static_cast<double>(looked) / static_cast<double>(total))) +
         " % looked through";
}

std::string render(const Json& info) {
  const auto size = info.value("size", std::uint64_t{0});
  const Json from = info.value("continues", Json());
  const auto attachments = info.value("attachments", std::uint64_t{0});
  const auto clones = info.value("clones", std::vector<std::string>());
  Table table({Table::Align::kLeft, Table::Align::kLeft});
  table.add({info.value("kind", ""), info.value("name", "")});
  table.add({"size", format_size(size) + " (" + std::to_string(size) + " bytes)"});
  table.add({"created", age(info.value("created", ""))});
  if (info.value("strict", false)) table.add({"strict", "every write goes to a fresh block"});
  if (info.value("quota", Json()).is_number()) {
    const Json charged = info.value("charged", Json());
    table.add({"quota", format_size(info.value("quota", std::uint64_t{0})) +
                            (charged.is_number()
                                 ? ", of which " + format_size(charged.get<std::uint64_t>()) + " are charged"
                                 : ", counted when it is next written")});
  }
  table.add(
      {"continues", from.is_string() && from != "" ? from.get<std::string>() : "nothing: it is the first"});
  const Json reclaim = info.value("reclaim", Json());
  if (reclaim.is_object()) table.add({"giving back", reclaim_text(reclaim)});
  const Json base = info.value("base", Json());
  if (base.is_object()) {
    table.add({"stands on", base_text(base)});
    const Json flatten = base.value("flatten", Json());
    if (flatten.is_object()) table.add({"flatten", flatten_text(flatten)});
  }
  if (!clones.empty()) table.add({"cloned to", joined(clones)});
  if (attachments != 0)
    table.add({"in use by", std::to_string(attachments) + (attachments == 1 ? " client" : " clients")});
  for (const Json& each : info.value("attached", Json::array())) {
    const std::string label = each.value("label", "");
    const std::string client = text_of(each, "client");
    table.add({each.value("state", ""), "attachment " + each.value("token", "") + ", epoch " +
                                            std::to_string(each.value("epoch", std::uint64_t{0})) +
                                            (label.empty() ? "" : ", " + label) +
                                            (client.empty() ? "" : ", " + client)});
  }
  const auto holds = info.value("holds", std::vector<std::string>());
  if (!holds.empty()) table.add({"held by", joined(holds)});
  const auto expires = parse_time(text_of(info, "expires"));
  if (expires)
    table.add({"expires", text_of(info, "expires") + " (" + format_until(*expires, now_unix_ms()) + ")"});
  const Json group = info.value("group", Json());
  if (group.is_object()) {
    const auto there = group.value("snapshots", std::vector<std::string>());
    const auto taken = group.value("taken", std::uint64_t{0});
    const std::string gone = there.size() < taken ? "; of " + std::to_string(taken) + " that there were" : "";
    table.add({"taken together", joined(there) + gone});
  }
  if (info.value("scheduled", false))
    table.add({"scheduled", "made by the disk's schedule, which removes it in time"});
  if (info.value("note", "") != "") table.add({"note", info.value("note", "")});
  if (info.value("kind", "") == "changes") {
    table.add({"changes only", "its data was given up: it can be the first side of a diff"});
    return table.text();
  }
  for (const auto& uri : info.value("nbd", std::vector<std::string>())) table.add({"nbd", uri});
  if (!info.value("served", false)) table.add({"served", "not now: start `coppice serve`"});
  return table.text() + "\nQEMU:\n" + indented(info.value("qemu", "")) + "\nlibvirt:\n" +
         indented(info.value("libvirt", ""));
}

Outcome<int> info(const std::string& spec, Context& context) {
  auto document = context.session.call(Request{.method = "info", .params = {{"spec", spec}}});
  if (!document) return std::unexpected(document.error());
  context.print(*document, render);
  const auto node = node_from_json(*document);
  if (node) context.warn(old_snapshots_text({*node}, now_unix_ms()));
  context.warn(low_space_text(document->value("pool", Json::object())));
  return kYes;
}

}  // namespace

Verb info_verb(CLI::App& program) {
  auto spec = std::make_shared<std::string>();
  Parser parser(program, {"info", "Tell about a disk or snapshot, and how to attach it", "coppice info web"});
  parser.argument("DISK[@SNAP]", *spec, "A disk or snapshot");
  return {parser, [spec](Context& context) { return info(*spec, context); }};
}

}  // namespace coppice::cli
