#include <memory>

#include "cli/base_image.h"
#include "cli/verb.h"
#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string disk;
  std::string size;
  std::string base;
  std::string format;
  bool strict = false;
};

std::string render(const Json& made) {
  const std::string base = text_of(made, "base");
  return "created disk " + made.value("name", "") + ", " + format_size(made.value("size", std::uint64_t{0})) +
         (made.value("strict", false) ? ", strict" : "") + (base.empty() ? "" : ", over " + base) + "\n";
}

std::unexpected<Failure> about(const Options& options, const std::string& what) {
  return refuse(ErrorKind::kInvalid, "disk " + options.disk + ": " + what);
}

Outcome<std::uint64_t> size_of(const Options& options) {
  if (options.size.empty() && options.base.empty())
    return about(options,
                 "give its --size, or an image that it stands on with --base: see coppice create --help");
  if (options.size.empty()) return 0;  // the image's
  auto size = parse_size(options.size);
  if (!size) return about(options, size.error().message);
  if (*size == 0 && !options.base.empty()) return about(options, "0 bytes is no size: leave out --size");
  return size;
}

// A disk over another one's snapshot is what `clone` makes.
bool names_snapshot(const std::string& base) {
  if (base.find('/') != std::string::npos) return false;
  const auto spec = parse_spec(base);
  return spec && spec->is_snapshot();
}

Outcome<int> clone(const Options& options, Context& context) {
  if (!options.size.empty() || options.strict || !options.format.empty()) {
    return about(options, options.base + " is a snapshot, and over one a disk is a clone, as large and as " +
                              "strict as it: leave out --size, --strict and --format");
  }
  const Json params{{"from", options.base}, {"disk", options.disk}};
  return context.answer(Request{.method = "clone", .params = params}, [](const Json& made) {
    return "created disk " + made.value("name", "") + " from " + made.value("from", "") + ", as clone does\n";
  });
}

Outcome<int> create_over(const Options& options, std::uint64_t size, Context& context) {
  if (!options.format.empty() && options.format != "raw" && options.format != "qcow2")
    return about(options, "a base is raw or qcow2: convert it (qemu-img convert -O raw)");
  auto image = open_base_image(options.base, options.format);
  if (!image) return std::unexpected(image.error());
  Json params{{"disk", options.disk}, {"size", size}, {"strict", options.strict}, {"base", image->path}};
  if (image->format != "raw") params["format"] = image->format;
  return context.answer(Request{.method = "create", .params = params, .file = image->file.get()}, render);
}

Outcome<int> create(const Options& options, Context& context) {
  auto size = size_of(options);
  if (!size) return std::unexpected(size.error());
  if (names_snapshot(options.base)) return clone(options, context);
  if (!options.base.empty()) return create_over(options, *size, context);
  if (!options.format.empty()) return about(options, "--format is for the image of --base: leave it out");
  Json params{{"disk", options.disk}, {"size", *size}};
  if (options.strict) params["strict"] = true;
  return context.answer(Request{.method = "create", .params = params}, render);
}

}  // namespace

Verb create_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program, {"create", "Make a new disk: all zeroes, or over a read-only image",
                          "coppice create web --size 10G\n  coppice create web --base /images/debian.raw"});
  parser.argument("DISK", options->disk, "Name of the new disk")
      .option({"--size", "N", "Bytes, or a number with K, M, G, T or P; of the image if it is left out"},
              options->size)
      .option({"--base", "IMAGE",
               "What the disk reads where it was not written: a raw or qcow2 image, which is never "
               "written and must not change (coppice flatten ends that), or DISK@SNAP, as clone does (a file "
               "of such a name: ./DISK@SNAP)"},
              options->base)
      .option({"--format", "FORMAT", "Take the image for this, whatever it looks like: raw or qcow2"},
              options->format)
      .flag(
          "--strict", options->strict,
          "Put every write into a fresh block, so that after a crash each 4 KiB block is the old one or the "
          "new one, whole (see coppice set --help)");
  return {parser, [options](Context& context) { return create(*options, context); }};
}

}  // namespace coppice::cli
