#include "cli/table.h"
#include "cli/verb.h"
#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

// "2026-11-22T09:50:15.123Z" without the part that no listing needs.
std::string to_the_second(const std::string& time) {
  return time.substr(0, 10) + " " + time.substr(11, 8);
}

std::string remarks(const Json& entry) {
  std::string text;
  if (entry.value("attachments", 0U) != 0) text = "in use";
  if (entry.value("strict", false)) text += text.empty() ? "strict" : ", strict";
  for (const auto& clone : entry.value("clones", std::vector<std::string>())) {
    text += (text.empty() ? "" : ", ") + ("cloned to " + clone);
  }
  const std::string note = entry.value("note", "");
  if (!note.empty()) text += (text.empty() ? "" : ", ") + ("“" + note + "”");
  return text;
}

std::string render(const Json& listing) {
  if (listing.empty()) return "no disks yet: coppice create NAME --size 10G\n";
  Table table({Table::Align::kLeft, Table::Align::kLeft, Table::Align::kRight, Table::Align::kLeft,
               Table::Align::kLeft});
  table.add({"NAME", "KIND", "SIZE", "CREATED (UTC)", ""});
  for (const auto& entry : listing) {
    table.add({entry.value("name", ""), entry.value("kind", ""),
               format_size(entry.value("size", std::uint64_t{0})), to_the_second(entry.value("created", "")),
               remarks(entry)});
  }
  return table.text();
}

}  // namespace

Verb ls_verb(CLI::App& program) {
  const Parser parser(program, {"ls", "List disks and snapshots", "coppice ls --json"});
  return {parser, [](Context& context) { return context.answer(Request{.method = "list"}, render); }};
}

}  // namespace coppice::cli
