#include <memory>

#include "cli/verb.h"
#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string disk;
  std::string size;
};

Outcome<int> resize(const Options& options, Context& context) {
  auto size = parse_size(options.size);
  if (!size) return refuse(ErrorKind::kInvalid, "disk " + options.disk + ": " + size.error().message);
  return context.answer(Request{.method = "resize", .params = {{"disk", options.disk}, {"size", *size}}},
                        [](const Json& answer) {
                          return "disk " + answer.value("name", "") + " is now " +
                                 format_size(answer.value("size", std::uint64_t{0})) + "\n";
                        });
}

}  // namespace

Verb resize_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program, {"resize", "Make a disk larger or smaller; its snapshots keep their size",
                          "coppice resize web --size 20G"});
  parser.argument("DISK", options->disk, "The disk")
      .required_option({"--size", "N", "Bytes, or a number with K, M, G, T or P"}, options->size);
  return {parser, [options](Context& context) { return resize(*options, context); }};
}

}  // namespace coppice::cli
