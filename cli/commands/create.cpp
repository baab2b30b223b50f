#include <memory>

#include "cli/verb.h"
#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string disk;
  std::string size;
  bool strict = false;
};

Outcome<int> create(const Options& options, Context& context) {
  auto size = parse_size(options.size);
  if (!size) return refuse(ErrorKind::kInvalid, "disk " + options.disk + ": " + size.error().message);
  Json params{{"disk", options.disk}, {"size", *size}};
  if (options.strict) params["strict"] = true;
  return context.answer(Request{.method = "create", .params = params}, [](const Json& made) {
    return "created disk " + made.value("name", "") + ", " +
           format_size(made.value("size", std::uint64_t{0})) +
           (made.value("strict", false) ? ", strict" : "") + "\n";
  });
}

}  // namespace

Verb create_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program, {"create", "Make a new disk, all zeroes", "coppice create web --size 10G"});
  parser.argument("DISK", options->disk, "Name of the new disk")
      .required_option({"--size", "N", "Bytes, or a number with K, M, G, T or P"}, options->size)
      .flag(
          "--strict", options->strict,
          "Put every write into a fresh block, so that after a crash each 4 KiB block is the old one or the "
          "new one, whole (see coppice set --help)");
  return {parser, [options](Context& context) { return create(*options, context); }};
}

}  // namespace coppice::cli
