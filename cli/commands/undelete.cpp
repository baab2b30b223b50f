#include <memory>

#include "cli/verb.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string disk;
  std::string name;
};

std::string render(const Json& answer) {
  const std::string name = answer.value("name", "");
  const std::string from = answer.value("from", "");
  return name == from ? name + " is back\n" : from + " is back as " + name + "\n";
}

}  // namespace

Verb undelete_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program, {"undelete", "Bring a removed disk back from the trash, with its snapshots",
                          "coppice undelete web web-again"});
  parser
      .argument("DISK", options->disk,
                "A disk that `coppice ls --trash` lists; of several, what was removed last")
      .optional_argument("NEWNAME", options->name, "What to call it, where its name is taken");
  return {parser, [options](Context& context) {
            Json params{{"disk", options->disk}};
            if (!options->name.empty()) params["name"] = options->name;
            return context.answer(Request{.method = "undelete", .params = params}, render);
          }};
}

}  // namespace coppice::cli
