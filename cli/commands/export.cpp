#include <fcntl.h>
#include <sys/stat.h>

#include <memory>

#include "cli/image_name.h"
#include "cli/image_target.h"
#include "cli/interrupt.h"
#include "cli/progress_line.h"
#include "cli/verb.h"
#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string from;
  std::string image;
  bool force = false;
};

Outcome<int> export_image(const Options& options, Context& context) {
  const bool to_stdout = options.image == "-";
  if (to_stdout && context.json) {
    return refuse(ErrorKind::kInvalid, "standard output can't take both the image and --json: leave one out");
  }
  auto target = to_stdout ? ImageTarget::standard_output() : ImageTarget::open(options.image, options.force);
  if (!target) return std::unexpected(target.error());
  call_off_on_interrupt();
  Outcome<Json> written;
  {
    ProgressLine progress(context.err);
    const Request request{.method = "export",
                          .params = {{"from", options.from}, {"stream", target->is_stream()}},
                          .file = target->descriptor(),
                          .stream = target->is_stream() ? Direction::kOut : Direction::kNone,
                          .progress = progress.hook()};
    written = context.session.call(request);
  }
  if (!written) return std::unexpected(naming_image(written.error(), options.image, ImageSide::kTarget));
  auto finished = target->finish();
  if (!finished) return std::unexpected(finished.error());
  if (to_stdout) return kYes;
  context.print(*written, [&options](const Json& answer) {
    return "wrote " + answer.value("name", "") + " to " + options.image + ", " +
           format_size(answer.value("size", std::uint64_t{0})) + "\n";
  });
  return kYes;
}

}  // namespace

Verb export_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program,
                {"export", "Write a disk or snapshot to a raw image", "coppice export web@monday web.raw"});
  parser.argument("DISK[@SNAP]", options->from, "What to write")
      .argument("IMAGE", options->image, "A file, a block device, or - for standard output")
      .flag("--force,-f", options->force, "Replace a file, or what a block device holds");
  return {parser, [options](Context& context) { return export_image(*options, context); }};
}

}  // namespace coppice::cli
