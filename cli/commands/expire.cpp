#include <memory>

#include "cli/time_text.h"
#include "cli/verb.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string snapshot;
  std::string when;
};

std::string render(const Json& answer) {
  const Json expires = answer.value("expires", Json());
  return answer.value("name", "") +
         (expires.is_string() ? " expires at " + expires.get<std::string>() : " does not expire") + "\n";
}

Outcome<int> expire(const Options& options, Context& context) {
  auto end = parse_end(options.when, now_unix_ms());
  if (!end) return std::unexpected(end.error());
  const Json params{{"snapshot", options.snapshot}, {"expires", time_or_null(*end)}};
  return context.answer(Request{.method = "expire", .params = params}, render);
}

}  // namespace

Verb expire_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program,
                {"expire", "Say when a snapshot is removed by itself", "coppice expire web@monday 72h"});
  parser.argument("DISK@SNAP", options->snapshot, "The snapshot")
      .argument("WHEN", options->when,
                "never, 90m, 72h, 14d, 4w from now, or an RFC 3339 time; `coppice serve` does it");
  return {parser, [options](Context& context) { return expire(*options, context); }};
}

}  // namespace coppice::cli
