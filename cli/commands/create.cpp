#include <memory>

#include "cli/verb.h"
#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string disk;
  std::string size;
};

Outcome<int> create(const Options& options, Context& context) {
  auto size = parse_size(options.size);
  if (!size) return refuse(ErrorKind::kInvalid, "disk " + options.disk + ": " + size.error().message);
  return context.answer(Request{.method = "create", .params = {{"disk", options.disk}, {"size", *size}}},
                        [](const Json& made) {
                          return "created disk " + made.value("name", "") + ", " +
                                 format_size(made.value("size", std::uint64_t{0})) + "\n";
                        });
}

}  // namespace

Verb create_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program, {"create", "Make a new disk, all zeroes", "coppice create web --size 10G"});
  parser.argument("DISK", options->disk, "Name of the new disk")
      .required_option({"--size", "N", "Bytes, or a number with K, M, G, T or P"}, options->size);
  return {parser, [options](Context& context) { return create(*options, context); }};
}

}  // namespace coppice::cli
