#include <memory>
#include <string>
#include <vector>

#include "cli/session.h"
#include "cli/table.h"
#include "cli/verb.h"
#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

// The copy of the map, from which --repair would make it anew.
std::string copy_text(const Json& report) {
  const std::string state = report.value("metadata_copy", "");
  if (state != "whole") return state.empty() ? "" : "copy of the metadata in the pool: " + state + "\n";
  return "copy of the metadata in the pool: whole, " +
         format_size(report.value("metadata_copy_bytes", std::uint64_t{0})) + "\n";
}

std::string repair_text(const Json& report) {
  if (!report.contains("repaired") || report["repaired"].is_null()) return "";
  const Json& repaired = report["repaired"];
  const std::string kept = repaired.value("kept", "");
  return "the map was damaged or missing (" + printable(repaired.value("damage", "")) +
         ") and is made anew from its copy in the pool" +
         (kept.empty() ? "" : "; the old one is " + printable(kept)) + "\n";
}

std::string render(const Json& report) {
  std::string text = repair_text(report);
  const auto problems = report.value("problems", std::vector<std::string>());
  for (const auto& problem : problems) text += printable(problem) + "\n";
  text += copy_text(report);
  const std::string extent = std::to_string(report.value("leaves", std::uint64_t{0})) + " leaves, " +
                             std::to_string(report.value("blocks", std::uint64_t{0})) + " blocks: ";
  if (problems.empty()) return text + extent + "all is well\n";
  return text + extent + std::to_string(problems.size()) +
         (problems.size() == 1 ? " problem\n" : " problems\n");
}

// What was repaired; null if there was nothing to do.
Outcome<Json> repair(Context& context) {
  if (context.mode == OpenMode::kReadOnly)
    return refuse(ErrorKind::kReadOnly, "--repair writes to the store: leave out --read-only");
  auto free = refuse_served(context.store);
  if (!free) return std::unexpected(free.error());
  const auto notice = [&context](const std::string& text) { context.session.tell_once(text); };
  auto reactor = Reactor::create(notice);
  if (!reactor) return refuse(reactor.error(), "store " + context.store);
  OpenOptions options;
  options.directory = context.store;
  options.notice = notice;
  auto report = (*reactor)->run(repair_store(**reactor, options));
  if (!report) return std::unexpected(report.error());
  if (!report->repaired) return Json();
  return Json{{"damage", report->damage}, {"kept", report->kept}};
}

Outcome<int> check(bool data, bool repairs, Context& context) {
  Outcome<Json> repaired;
  if (repairs) repaired = repair(context);
  if (!repaired) return std::unexpected(repaired.error());
  auto report = context.session.call(Request{.method = "check", .params = {{"data", data}}});
  if (!report) return std::unexpected(report.error());
  (*report)["repaired"] = *repaired;
  context.print(*report, render);
  return report->value("problems", Json::array()).empty() ? kYes : kNo;
}

}  // namespace

Verb check_verb(CLI::App& program) {
  auto data = std::make_shared<bool>(false);
  auto repairs = std::make_shared<bool>(false);
  Parser parser(program,
                {"check", "Verify that map, allocation and tree agree; exits with 1 if something is damaged",
                 "coppice check --data"});
  parser.flag("--data", *data, "Read all data too, and verify every checksum");
  parser.flag("--repair", *repairs,
              "Make the map anew from its copy in the pool, if it is lost or damaged; the old one is kept");
  return {parser, [data, repairs](Context& context) { return check(*data, *repairs, context); }};
}

}  // namespace coppice::cli
