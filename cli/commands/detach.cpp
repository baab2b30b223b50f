#include <memory>

#include "cli/verb.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string disk;
  std::string token;
  bool all = false;
};

std::string render(const Json& answer) {
  std::string text;
  for (const Json& each : answer.value("attachments", Json::array())) {
    const std::string label = printable(each.value("label", ""));
    text += answer.value("name", "") + ": the attachment of epoch " +
            std::to_string(each.value("epoch", std::uint64_t{0})) +
            (label.empty() ? "" : " (" + label + ")") + " is gone\n";
  }
  return text.empty() ? answer.value("name", "") + " is not attached\n" : text;
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
