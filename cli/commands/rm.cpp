#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "cli/verb.h"
#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

struct Options {
  std::vector<std::string> specs;
  bool snapshots = false;
  bool now = false;
  bool trash = false;
  bool dry_run = false;
  bool keep_changes = false;
  bool group = false;
};

std::string render(const Json& answer) {
  if (answer.value("dry_run", false)) {
    std::string text;
    for (const auto& name : answer.value("removed", std::vector<std::string>()))
      text += "would remove " + name + "\n";
    return text +
           (answer.value("trashed", Json::array()).empty() ? "that would free "
                                                           : "that would free, once the trash is emptied, ") +
           format_size(answer.value("frees", std::uint64_t{0})) + "; nothing is changed\n";
  }
  const auto trashed = answer.value("trashed", std::vector<std::string>());
  std::string text;
  for (const auto& name : answer.value("removed", std::vector<std::string>())) {
    if (answer.value("keeps_changes", false)) {
      text +=
          fmt::format("gave up the data of {0}; 'coppice diff {0}' still tells what changed since\n", name);
      continue;
    }
    const bool kept = std::ranges::find(trashed, name) != trashed.end();
    text += kept ? fmt::format("{0} is in the trash until {1}: 'coppice undelete {0}' brings it back\n", name,
                               text_of(answer, "until"))
                 : fmt::format("removed {}\n", name);
  }
  return text;
}

Outcome<int> remove(const Options& options, Context& context) {
  if (options.trash)
    return context.answer(Request{.method = "purge", .params = {{"disks", options.specs}}}, render);
  const Json params{
      {"specs", options.specs},     {"with_snapshots", options.snapshots},  {"now", options.now},
      {"dry_run", options.dry_run}, {"keep_changes", options.keep_changes}, {"group", options.group}};
  return context.answer(Request{.method = "remove", .params = params}, render);
}

}  // namespace

Verb rm_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program,
                {"rm",
                 "Remove disks and snapshots: all that are named, or none. A disk stays in the trash for a "
                 "day, or until the pool is full",
                 "coppice rm web@monday%friday --dry-run"});
  parser
      .arguments("DISK[@SNAP[%SNAP]]", options->specs,
                 "What to remove. DISK@FIRST%LAST: the snapshots of a line from one to the other, both too")
      .flag("--group", options->group,
            "With a snapshot, those of other disks that were taken together with it")
      .flag("--snapshots", options->snapshots, "With a disk, remove all its snapshots")
      .flag("--now", options->now, "Remove disks for good, past the trash")
      .flag("--trash", options->trash, "Remove disks that are in the trash, for good")
      .flag("--dry-run", options->dry_run, "Say what would go and what that would free, and change nothing")
      .flag("--keep-changes", options->keep_changes,
            "Give up the data of snapshots, which stay as the first side of diffs")
      .exclusive("--keep-changes", "--snapshots")
      .exclusive("--keep-changes", "--now")
      .exclusive("--keep-changes", "--trash")
      .exclusive("--trash", "--dry-run")
      .exclusive("--trash", "--now")
      .exclusive("--trash", "--snapshots")
      .exclusive("--trash", "--group");
  return {parser, [options](Context& context) { return remove(*options, context); }};
}

}  // namespace coppice::cli
