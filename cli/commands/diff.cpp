#include <memory>

#include "cli/verb.h"
#include "coppice/bytes.h"
#include "coppice/store.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string from;
  std::string to;
  std::string offset = "0";
  bool quiet = false;
};

std::string render(const Json& ranges) {
  std::string text;
  for (const auto& range : ranges) {
    text += std::to_string(range.value("offset", std::uint64_t{0})) + " " +
            std::to_string(range.value("length", std::uint64_t{0})) +
            (range.value("zero", false) ? " zero\n" : " data\n");
  }
  return text;
}

Outcome<int> diff(const Options& options, Context& context) {
  auto offset = parse_size(options.offset);
  if (!offset) return refuse(ErrorKind::kInvalid, "--from: " + offset.error().message);
  const auto from = parse_spec(options.from);
  if (!from) return std::unexpected(from.error());
  const Json params{
      {"from", options.from}, {"to", options.to.empty() ? from->disk : options.to}, {"offset", *offset}};
  auto ranges = context.session.call(Request{.method = "diff", .params = params});
  if (!ranges) return std::unexpected(ranges.error());
  if (options.quiet) return ranges->empty() ? kYes : kNo;
  context.print(*ranges, render);
  return kYes;
}

}  // namespace

Verb diff_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(
      program,
      {"diff", "List the byte ranges that differ: offset, length, and data or zero on the second side",
       "coppice diff web@monday web@tuesday"});
  parser.argument("DISK@A", options->from, "The first side")
      .optional_argument("DISK[@B]", options->to,
                         "The second side; without it, the first one's disk as it is now")
      .option({"--from", "OFFSET", "Begin at this byte"}, options->offset)
      .flag("--quiet,-q", options->quiet, "Print nothing; exit with 0 if equal, 1 if not");
  return {parser, [options](Context& context) { return diff(*options, context); }};
}

}  // namespace coppice::cli
