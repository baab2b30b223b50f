#include <pwd.h>
#include <unistd.h>

#include <memory>

#include "cli/verb.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string snapshot;
  std::string tag;
};

// Who holds it, where nothing else is said.
std::string own_name() {
  const passwd* user = getpwuid(geteuid());
  const std::string name = user == nullptr ? "" : user->pw_name;
  return check_name(name) ? name : "user-" + std::to_string(geteuid());
}

std::string render(const Json& answer) {
  return answer.value("name", "") + " is held by " + answer.value("tag", "") + "\n";
}

}  // namespace

Verb hold_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program, {"hold", "Keep a snapshot from being removed, until it is released",
                          "coppice hold web@monday audit"});
  parser.argument("DISK@SNAP", options->snapshot, "The snapshot")
      .optional_argument("TAG", options->tag, "Who or what needs it (else your user's name)");
  return {parser, [options](Context& context) {
            const std::string tag = options->tag.empty() ? own_name() : options->tag;
            const Json params{{"snapshot", options->snapshot}, {"tag", tag}};
            return context.answer(Request{.method = "hold", .params = params}, render);
          }};
}

}  // namespace coppice::cli
