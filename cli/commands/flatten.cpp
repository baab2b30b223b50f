#include <memory>

#include "cli/interrupt.h"
#include "cli/progress_line.h"
#include "cli/verb.h"
#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string disk;
  bool wait = false;
  bool stop = false;
};

std::string render(const Json& answer) {
  const std::string name = answer.value("name", "");
  const std::string state = answer.value("state", "");
  if (state == "done") return "disk " + name + " is flattened: it needs its base no more\n";
  if (state == "stopped") return "disk " + name + " is not flattened any further; what was copied stays\n";
  return "disk " + name + " is being flattened: coppice info " + name + " tells how far it is\n";
}

Outcome<int> flatten(const Options& options, Context& context) {
  call_off_on_interrupt();
  Outcome<Json> answer;
  {
    ProgressLine progress(context.err);
    const Request request{.method = "flatten",
                          .params = {{"disk", options.disk}, {"wait", options.wait}, {"stop", options.stop}},
                          .progress = progress.hook()};
    answer = context.session.call(request);
  }
  if (!answer) return std::unexpected(answer.error());
  context.print(*answer, render);
  return kYes;
}

}  // namespace

Verb flatten_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program,
                {"flatten",
                 "Copy what a disk reads from its base image into the pool, so that it needs the image "
                 "no more",
                 "coppice flatten web --wait"});
  parser
      .argument("DISK", options->disk,
                "A disk made with create --base, without snapshots or clones; it may be in use")
      .flag("--wait", options->wait, "Return when it is done; without a daemon always")
      .flag("--stop", options->stop, "End it; what was copied stays")
      .exclusive("--wait", "--stop");
  return {parser, [options](Context& context) { return flatten(*options, context); }};
}

}  // namespace coppice::cli
