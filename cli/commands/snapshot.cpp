#include <memory>

#include "cli/time_text.h"
#include "cli/verb.h"

namespace coppice::cli {
namespace {

struct Options {
  std::vector<std::string> specs;
  std::string note;
  std::string expires;
};

std::string render(const Json& answer) {
  std::string text;
  for (const auto& name : answer.value("snapshots", std::vector<std::string>()))
    text += "took " + name + "\n";
  return text;
}

Outcome<int> snapshot(const Options& options, Context& context) {
  Json params{{"specs", options.specs}, {"note", options.note}};
  if (!options.expires.empty()) {
    auto end = parse_end(options.expires, now_unix_ms());
    if (!end) return refuse(end.error().kind, "--expires: " + end.error().message);
    params["expires"] = time_or_null(*end);
  }
  return context.answer(Request{.method = "snapshot", .params = params}, render);
}

}  // namespace

Verb snapshot_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program, {"snapshot", "Keep disks as they are now, all at one point in time",
                          "coppice snapshot web@monday db@monday --expires 72h"});
  parser.arguments("DISK@SNAP", options->specs, "What to keep, and under which name")
      .option({"--note", "TEXT", "A line of text to keep with them"}, options->note)
      .option(
          {"--expires", "WHEN", "When `coppice serve` removes them: 90m, 72h, 14d, 4w, or an RFC 3339 time"},
          options->expires);
  return {parser, [options](Context& context) { return snapshot(*options, context); }};
}

}  // namespace coppice::cli
