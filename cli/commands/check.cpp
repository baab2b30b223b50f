#include <memory>

#include "cli/table.h"
#include "cli/verb.h"

namespace coppice::cli {
namespace {

std::string render(const Json& report) {
  std::string text;
  const auto problems = report.value("problems", std::vector<std::string>());
  for (const auto& problem : problems) text += printable(problem) + "\n";
  const std::string extent = std::to_string(report.value("leaves", std::uint64_t{0})) + " leaves, " +
                             std::to_string(report.value("blocks", std::uint64_t{0})) + " blocks: ";
  if (problems.empty()) return extent + "all is well\n";
  return text + extent + std::to_string(problems.size()) +
         (problems.size() == 1 ? " problem\n" : " problems\n");
}

Outcome<int> check(bool data, Context& context) {
  auto report = context.session.call(Request{.method = "check", .params = {{"data", data}}});
  if (!report) return std::unexpected(report.error());
  context.print(*report, render);
  return report->value("problems", Json::array()).empty() ? kYes : kNo;
}

}  // namespace

Verb check_verb(CLI::App& program) {
  auto data = std::make_shared<bool>(false);
  Parser parser(program,
                {"check", "Verify that map, allocation and tree agree; exits with 1 if something is damaged",
                 "coppice check --data"});
  parser.flag("--data", *data, "Read all data too, and verify every checksum");
  return {parser, [data](Context& context) { return check(*data, context); }};
}

}  // namespace coppice::cli
