#include <memory>

#include "cli/heat_strip.h"
#include "cli/terminal.h"
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
  bool strip = false;
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

Outcome<std::string> strip_of(const Json& answer, const std::string& to, Context& context) {
  auto info = context.session.call(Request{.method = "info", .params = {{"spec", to}}});
  if (!info) return std::unexpected(info.error());
  std::vector<DiffRange> ranges;
  for (const auto& range : answer)
    ranges.push_back({range.value("offset", std::uint64_t{0}), range.value("length", std::uint64_t{0})});
  return draw_strip(ranges, info->value("size", std::uint64_t{0}), {terminal_columns(), speaks_utf8()});
}

Outcome<int> diff(const Options& options, Context& context) {
  auto offset = parse_size(options.offset);
  if (!offset) return refuse(ErrorKind::kInvalid, "--from: " + offset.error().message);
  const auto from = parse_spec(options.from);
  if (!from) return std::unexpected(from.error());
  const std::string to = options.to.empty() ? from->disk : options.to;
  const Json params{{"from", options.from}, {"to", to}, {"offset", *offset}};
  auto ranges = context.session.call(Request{.method = "diff", .params = params});
  if (!ranges && ranges.error().kind == ErrorKind::kUntracked) {
    if (context.json) context.print({{"full_copy", true}, {"reason", ranges.error().message}}, render);
    context.err << "coppice: " << printable(ranges.error().message) << "\n";
    return kFullCopy;
  }
  if (!ranges) return std::unexpected(ranges.error());
  if (options.quiet) return ranges->empty() ? kYes : kNo;
  if (options.strip && !context.json) {
    auto strip = strip_of(*ranges, to, context);
    if (!strip) return std::unexpected(strip.error());
    context.out << *strip;
    return kYes;
  }
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
      .flag("--quiet,-q", options->quiet,
            "Print nothing; exit with 0 if equal, 1 if not, 3 if that can't be told")
      .flag("--strip", options->strip, "Draw where on the disk the differences lie, as wide as the terminal")
      .exclusive("--strip", "--quiet");
  return {parser, [options](Context& context) { return diff(*options, context); }};
}

}  // namespace coppice::cli
