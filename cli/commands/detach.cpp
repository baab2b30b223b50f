#include <memory>

#include "cli/attachment_json.h"
#include "cli/verb.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string disk;
  std::string token;
  bool all = false;
};

std::string render(const Json& answer) {
  return attachments_text(answer, " is gone", " is not attached");
}

}  // namespace

Verb detach_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program, {"detach",
                          "Take back the right to write to a disk: its client's connection is closed, and it "
                          "can't come back",
                          "coppice detach web"});
  parser.argument("DISK", options->disk, "The disk")
      .optional_argument("TOKEN", options->token, "Which attachment, where there are several")
      .flag("--all", options->all, "All of them")
      .exclusive("--all", "TOKEN");
  return {parser, [options](Context& context) {
            Json params{{"disk", options->disk}, {"all", options->all}};
            if (!options->token.empty()) params["token"] = options->token;
            return context.answer(Request{.method = "detach", .params = params}, render);
          }};
}

}  // namespace coppice::cli
