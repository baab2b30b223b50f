#include <memory>

#include "cli/verb.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string from;
  std::string to;
};

std::string render(const Json& answer) {
  return answer.value("from", "") + " is now " + answer.value("name", "") + "\n";
}

}  // namespace

Verb rename_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program,
                {"rename", "Give a disk or snapshot another name", "coppice rename web@s1 before-upgrade"});
  parser.argument("DISK[@SNAP]", options->from, "Its name now")
      .argument("NEW", options->to, "Its new name; of a snapshot, the part behind the @");
  return {parser, [options](Context& context) {
            const Json params{{"from", options->from}, {"to", options->to}};
            return context.answer(Request{.method = "rename", .params = params}, render);
          }};
}

}  // namespace coppice::cli
