#include <memory>

#include "cli/verb.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string snapshot;
  std::string tag;
};

std::string render(const Json& answer) {
  return answer.value("name", "") + " is no longer held by " + answer.value("tag", "") + "\n";
}

}  // namespace

Verb release_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program, {"release", "Take a hold off a snapshot", "coppice release web@monday audit"});
  parser.argument("DISK@SNAP", options->snapshot, "The snapshot")
      .optional_argument("TAG", options->tag, "Which hold, where there are several");
  return {parser, [options](Context& context) {
            Json params{{"snapshot", options->snapshot}};
            if (!options->tag.empty()) params["tag"] = options->tag;
            return context.answer(Request{.method = "release", .params = params}, render);
          }};
}

}  // namespace coppice::cli
