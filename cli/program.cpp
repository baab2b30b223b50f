#include "cli/program.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <optional>
#include <vector>

#include "cli/store_directory.h"
#include "cli/table.h"
#include "cli/verb.h"
#include "cli/version.h"

namespace coppice::cli {
namespace {

// What may be said before the verb or after it.
struct Globals {
  std::optional<std::string> store;
  bool json = false;
  bool read_only = false;
};

constexpr const char* kStoreHelp =
    "The store's folder (else COPPICE_STORE, else /var/lib/coppice for root, ~/.local/share/coppice)";

void add_globals(CLI::App& parser, Globals& globals) {
  parser.add_option("--store", globals.store, kStoreHelp)->type_name("DIR");
  parser.add_flag("--json", globals.json, "Answer with one JSON document");
  parser.add_flag("--read-only", globals.read_only, "Open the store without writing anything to it");
}

std::vector<Verb> add_verbs(CLI::App& program) {
  using Maker = Verb (*)(CLI::App&);
  static constexpr Maker kMakers[] = {
      init_verb,     create_verb,   ls_verb,      info_verb,     du_verb,    rm_verb,       rename_verb,
      resize_verb,   set_verb,      flatten_verb, snapshot_verb, hold_verb,  release_verb,  expire_verb,
      schedule_verb, undelete_verb, attach_verb,  detach_verb,   fence_verb, rollback_verb, clone_verb,
      tree_verb,     diff_verb,     import_verb,  export_verb,   serve_verb, mount_verb,    unmount_verb,
      files_verb,    check_verb,    dump_verb,    metrics_verb};
  std::vector<Verb> verbs;
  for (const Maker make : kMakers) verbs.push_back(make(program));
  return verbs;
}

std::string one_line(std::string text) {
  std::ranges::replace(text, '\n', ' ');
  text.erase(text.find_last_not_of(" .") + 1);
  return printable(std::move(text));
}

int complain(std::ostream& err, const std::string& message) {
  err << "coppice: " << one_line(message) << "\n";
  return kError;
}

// What CLI11 has to say, in plain words.
std::string reason_of(const CLI::ParseError& error) {
  const std::string text = error.what();
  if (error.get_name() != "ArgumentMismatch") return one_line(text);
  const std::string option = text.substr(0, text.find(": "));
  return option + (text.find("At Most") != std::string::npos ? " is given more than once" : " needs a value");
}

// What CLI11 threw, as one line that says where help is to be had.
int refuse_arguments(const CLI::App& program, const CLI::ParseError& error, std::ostream& err) {
  const auto chosen = program.get_subcommands();
  if (!chosen.empty()) {
    const std::string& verb = chosen.front()->get_name();
    return complain(err, verb + ": " + reason_of(error) + ": see coppice " + verb + " --help");
  }
  if (error.get_name() == "ArgumentMismatch") return complain(err, reason_of(error) + ": see coppice --help");
  const auto left = program.remaining();
  if (left.empty()) return complain(err, "no verb is given: see coppice --help");
  const char* what = left.front().starts_with("-") ? "option" : "verb";
  return complain(err, std::string("unknown ") + what + " '" + left.front() + "': see coppice --help");
}

// An empty value is a variable that was not set: taking the default store for it would change the wrong one.
Outcome<std::string> chosen_store(const Globals& before, const Globals& after) {
  if (before.store && after.store) {
    return refuse(ErrorKind::kInvalid, "--store is given twice: give it before the verb or after it");
  }
  const auto& given = before.store ? before.store : after.store;
  if (given && given->empty()) {
    return refuse(ErrorKind::kInvalid, "--store is empty: give the store's folder, or leave the option out");
  }
  return store_directory(given.value_or(""));
}

int run_verb(const Verb& verb, const std::string& store, bool store_given, OpenMode mode, bool json,
             std::ostream& out, std::ostream& err) {
  Session session(store, mode, [&err](const std::string& text) { complain(err, text); });
  Context context{store, store_given, json, mode, session, out, err};
  auto code = verb.run(context);
  auto closed = session.close();
  if (!code) return complain(err, code.error().message);
  if (!closed) return complain(err, closed.error().message);
  out.flush();
  if (!out) return complain(err, "writing the answer failed: is the disk full, or the reader gone?");
  return *code;
}

}  // namespace

int run_program(int argc, const char* const* argv, std::ostream& out, std::ostream& err) {
  CLI::App program("coppice: disks with snapshot trees, served over NBD and as files");
  program.name("coppice");
  program.set_version_flag("--version", std::string("coppice ") + kVersion);
  program.require_subcommand(1);
  program.footer(
      "Examples:\n  coppice init && coppice create web --size 10G && coppice serve\n"
      "Every verb has its own: coppice VERB --help");
  Globals before;
  Globals after;
  add_globals(program, before);
  const std::vector<Verb> verbs = add_verbs(program);
  for (const auto& verb : verbs) add_globals(verb.parser.app(), after);
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return program.exit(error, out, err);  // --help, --version
    return refuse_arguments(program, error, err);
  }
  const auto store = chosen_store(before, after);
  if (!store) return complain(err, store.error().message);
  const auto chosen =
      std::ranges::find_if(verbs, [](const Verb& verb) { return verb.parser.app().parsed(); });
  const bool read_only = before.read_only || after.read_only;
  if (read_only && chosen->parser.app().get_name() == "init")
    return complain(err, "init: --read-only opens a store that is there: leave it out to make one");
  const bool store_given = before.store || after.store;
  return run_verb(*chosen, *store, store_given, read_only ? OpenMode::kReadOnly : OpenMode::kReadWrite,
                  before.json || after.json, out, err);
}

}  // namespace coppice::cli
