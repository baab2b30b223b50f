#include <memory>

#include "cli/verb.h"
#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string to;
  std::string keep;
  bool discard = false;
  bool dry_run = false;
  bool online = false;
};

std::string render(const Json& answer) {
  const Json kept = answer.value("kept", Json());
  if (answer.value("dry_run", false)) {
    return answer.value("disk", "") + " would continue from " + answer.value("to", "") +
           (kept.is_string() ? "; what it holds would be kept as " + kept.get<std::string>()
                             : "; what it holds would be gone, which frees " +
                                   format_size(answer.value("frees", std::uint64_t{0}))) +
           "; nothing is changed\n";
  }
  return answer.value("disk", "") + " continues from " + answer.value("to", "") +
         (kept.is_string() ? "; what it held is kept as " + kept.get<std::string>()
                           : "; what it held is gone") +
         "\n";
}

Outcome<int> rollback(const Options& options, Context& context) {
  Json params{{"to", options.to},
              {"discard", options.discard},
              {"dry_run", options.dry_run},
              {"online", options.online}};
  if (!options.keep.empty()) params["keep_as"] = options.keep;
  return context.answer(Request{.method = "rollback", .params = params}, render);
}

}  // namespace

Verb rollback_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program, {"rollback", "Let a disk continue from a snapshot",
                          "coppice rollback web@monday --keep before-rollback"});
  parser.argument("DISK@SNAP", options->to, "Where to go back to")
      .option({"--keep", "NAME",
               "Name of the snapshot that keeps what the disk holds now (else one is made up, and printed)"},
              options->keep)
      .flag("--discard", options->discard, "Keep nothing of what the disk holds now")
      .flag("--dry-run", options->dry_run, "Say what would happen, and change nothing")
      .flag(
          "--online", options->online,
          "Also while the disk is attached: its client is cut off, and goes on at the snapshot when it comes "
          "back by itself, as QEMU does with reconnect-delay. What the guest has in memory stays: stop it, "
          "or have it unmount the disk")
      .exclusive("--discard", "--keep");
  return {parser, [options](Context& context) { return rollback(*options, context); }};
}

}  // namespace coppice::cli
