#include <memory>

#include "cli/verb.h"

namespace coppice::cli {
namespace {

struct Options {
  std::vector<std::string> specs;
  std::string note;
};

std::string render(const Json& answer) {
  std::string text;
  for (const auto& name : answer.value("snapshots", std::vector<std::string>()))
    text += "took " + name + "\n";
  return text;
}

}  // namespace

Verb snapshot_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program, {"snapshot", "Keep disks as they are now, all at one point in time",
                          "coppice snapshot web@monday db@monday"});
  parser.arguments("DISK@SNAP", options->specs, "What to keep, and under which name")
      .option({"--note", "TEXT", "A line of text to keep with them"}, options->note);
  return {parser, [options](Context& context) {
            const Json params{{"specs", options->specs}, {"note", options->note}};
            return context.answer(Request{.method = "snapshot", .params = params}, render);
          }};
}

}  // namespace coppice::cli
