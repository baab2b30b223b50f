#include <memory>

#include "cli/verb.h"

namespace coppice::cli {
namespace {

struct Options {
  std::vector<std::string> specs;
  bool snapshots = false;
};

std::string render(const Json& answer) {
  std::string text;
  for (const auto& name : answer.value("removed", std::vector<std::string>()))
    text += "removed " + name + "\n";
  return text;
}

}  // namespace

Verb rm_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program, {"rm", "Remove disks and snapshots: all that are named, or none",
                          "coppice rm web@monday web@tuesday"});
  parser.arguments("DISK[@SNAP]", options->specs, "What to remove")
      .flag("--snapshots", options->snapshots, "With a disk, remove all its snapshots");
  return {parser, [options](Context& context) {
            const Json params{{"specs", options->specs}, {"with_snapshots", options->snapshots}};
            return context.answer(Request{.method = "remove", .params = params}, render);
          }};
}

}  // namespace coppice::cli
