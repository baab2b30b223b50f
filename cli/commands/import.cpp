#include <fcntl.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "cli/image_name.h"
#include "cli/interrupt.h"
#include "cli/progress_line.h"
#include "cli/unique_fd.h"
#include "cli/verb.h"
#include "coppice/bytes.h"
#include "formats/image_file.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string image;
  std::string disk;
  std::string format;
};

std::unexpected<Failure> image_refusal(const std::string& image, int errno_value) {
  const ErrorKind kind = errno_value == ENOENT ? ErrorKind::kNotFound : ErrorKind::kIo;
  return refuse(kind, "image " + image + ": " + std::strerror(errno_value));
}

// What can be refused before the store is asked. Of a stream nothing is known yet.
Outcome<> refuse_early(const Options& options, const formats::ImageFile& image) {
  if (image.kind == formats::ImageKind::kStream || !options.format.empty()) return {};
  std::array<char, formats::kHeadBytes> head{};
  const ssize_t got = pread(image.descriptor, head.data(), head.size(), 0);
  if (got < 0) return image_refusal(options.image, errno);
  return formats::refuse_foreign({head.data(), static_cast<std::size_t>(got)});
}

std::unexpected<Failure> named(const Failure& failure, const Options& options) {
  return std::unexpected(naming_image(failure, options.image, ImageSide::kSource));
}

Outcome<int> import(const Options& options, Context& context) {
  if (!options.format.empty() && options.format != "raw") {
    return refuse(ErrorKind::kUnsupported,
                  "format " + options.format + " is not read: convert the image to raw");
  }
  const bool from_stdin = options.image == "-";
  UniqueFd file(from_stdin ? dup(STDIN_FILENO) : open(options.image.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return image_refusal(options.image, errno);
  auto image = formats::examine(file.get(), from_stdin);
  if (!image) return named(image.error(), options);
  auto raw = refuse_early(options, *image);
  if (!raw) return named(raw.error(), options);
  call_off_on_interrupt();
  ProgressLine progress(context.err);
  const bool is_stream = image->kind == formats::ImageKind::kStream;
  const Request request{
      .method = "import",
      .params = {{"disk", options.disk}, {"stream", is_stream}, {"raw", !options.format.empty()}},
      .file = file.get(),
      .stream = is_stream ? Direction::kIn : Direction::kNone,
      .progress = progress.hook()};
  auto imported = context.answer(request, [](const Json& made) {
    return "created disk " + made.value("name", "") + ", " +
           format_size(made.value("size", std::uint64_t{0})) + "\n";
  });
  if (!imported) return named(imported.error(), options);
  return imported;
}

}  // namespace

Verb import_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program, {"import", "Make a disk of a raw image", "coppice import debian.raw web"});
  parser.argument("IMAGE", options->image, "A file, a block device, or - for standard input")
      .argument("DISK", options->disk, "Name of the new disk")
      .option({"--format", "FORMAT", "Take the image for this, whatever it looks like; raw is all there is"},
              options->format);
  return {parser, [options](Context& context) { return import(*options, context); }};
}

}  // namespace coppice::cli
