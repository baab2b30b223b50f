#include <memory>

#include "cli/verb.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string from;
  std::string disk;
};

std::string render(const Json& answer) {
  return "created disk " + answer.value("name", "") + " from " + answer.value("from", "") + "\n";
}

}  // namespace

Verb clone_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program, {"clone", "Make a new writable disk that continues from a snapshot",
                          "coppice clone web@monday web-test"});
  parser.argument("DISK@SNAP", options->from, "What it continues from")
      .argument("NEW", options->disk, "Name of the new disk");
  return {parser, [options](Context& context) {
            const Json params{{"from", options->from}, {"disk", options->disk}};
            return context.answer(Request{.method = "clone", .params = params}, render);
          }};
}

}  // namespace coppice::cli
