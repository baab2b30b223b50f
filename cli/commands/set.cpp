#include <memory>
#include <optional>

#include "cli/verb.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string disk;
  std::string setting;
};

std::optional<bool> strictness(const std::string& setting) {
  if (setting == "strict=on") return true;
  if (setting == "strict=off") return false;
  return std::nullopt;
}

std::string render(const Json& answer) {
  return "disk " + answer.value("name", "") +
         (answer.value("strict", false)
              ? " is strict now: every write goes to a fresh block\n"
              : " is not strict now: what no snapshot sees is overwritten in place\n");
}

Outcome<int> set(const Options& options, Context& context) {
  const std::optional<bool> strict = strictness(options.setting);
  if (!strict) {
    return refuse(ErrorKind::kInvalid, "disk " + options.disk + ": '" + options.setting +
                                           "' is not known: give strict=on or strict=off");
  }
  const Json params{{"disk", options.disk}, {"strict", *strict}};
  return context.answer(Request{.method = "set", .params = params}, render);
}

}  // namespace

Verb set_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(
      program, {"set", "Change how a disk is written; nobody may have it open", "coppice set web strict=on"});
  parser.argument("DISK", options->disk, "The disk")
      .argument(
          "SETTING", options->setting,
          "strict=on: every write goes to a fresh block, so that after a crash each 4 KiB block is the old "
          "one or the new one, whole; it takes more space and leaves the disk in pieces. strict=off: what "
          "no snapshot sees is overwritten in place");
  return {parser, [options](Context& context) { return set(*options, context); }};
}

}  // namespace coppice::cli
