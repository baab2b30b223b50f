#include <memory>

#include "cli/verb.h"
#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

struct Options {
  std::vector<std::string> to;
  bool group = false;
  std::string keep;
  bool discard = false;
  bool dry_run = false;
  bool online = false;
};

std::string render(const Json& answer) {
  const bool rehearsed = answer.value("dry_run", false);
  bool kept = false;
  std::string text;
  for (const Json& each : answer.value("disks", Json::array())) {
    const std::string keeps = text_of(each, "kept");
    kept |= !keeps.empty();
    text += each.value("disk", "") + (rehearsed ? " would continue from " : " continues from ") +
            each.value("to", "");
    if (!keeps.empty())
      text += (rehearsed ? "; what it holds would be kept as " : "; what it held is kept as ") + keeps;
    if (keeps.empty()) text += rehearsed ? "; what it holds would be gone" : "; what it held is gone";
    text += "\n";
  }
  if (!rehearsed) return text;
  if (!kept) text += "that would free " + format_size(answer.value("frees", std::uint64_t{0})) + "; ";
  return text + "nothing is changed\n";
}

Outcome<int> rollback(const Options& options, Context& context) {
  Json params{{"specs", options.to},
              {"group", options.group},
              {"discard", options.discard},
              {"dry_run", options.dry_run},
              {"online", options.online}};
  if (!options.keep.empty()) params["keep_as"] = options.keep;
  return context.answer(Request{.method = "rollback", .params = params}, render);
}

}  // namespace

Verb rollback_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program, {"rollback", "Let disks continue from snapshots: all that are named, or none",
                          "coppice rollback web@monday --keep before-rollback"});
  parser.arguments("DISK@SNAP", options->to, "Where to go back to; of several disks each to its own")
      .flag("--group", options->group, "With all disks whose snapshots were taken together with these")
      .option(
          {"--keep", "NAME",
           "Name of the snapshot that keeps what the disk holds now (else one is made up, and printed); of "
           "several disks, of each"},
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
