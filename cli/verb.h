// Verb: a word that the program understands. Each has a file in commands/ that says how it is written on the
// command line, what it asks of the store and how its answer looks.
#pragma once

#include <functional>

#include "cli/context.h"
#include "cli/parser.h"
#include "coppice/result.h"

namespace coppice::cli {

struct Verb {
  Parser parser;
  std::function<Outcome<int>(Context&)> run;  // answers an ExitCode
};

Verb init_verb(CLI::App& program);
Verb create_verb(CLI::App& program);
Verb ls_verb(CLI::App& program);
Verb info_verb(CLI::App& program);
Verb du_verb(CLI::App& program);
Verb rm_verb(CLI::App& program);
Verb rename_verb(CLI::App& program);
Verb resize_verb(CLI::App& program);
Verb set_verb(CLI::App& program);
Verb flatten_verb(CLI::App& program);
Verb snapshot_verb(CLI::App& program);
Verb hold_verb(CLI::App& program);
Verb release_verb(CLI::App& program);
Verb expire_verb(CLI::App& program);
Verb undelete_verb(CLI::App& program);
Verb schedule_verb(CLI::App& program);
Verb rollback_verb(CLI::App& program);
Verb attach_verb(CLI::App& program);
Verb detach_verb(CLI::App& program);
Verb fence_verb(CLI::App& program);
Verb clone_verb(CLI::App& program);
Verb tree_verb(CLI::App& program);
Verb diff_verb(CLI::App& program);
Verb import_verb(CLI::App& program);
Verb export_verb(CLI::App& program);
Verb serve_verb(CLI::App& program);
Verb mount_verb(CLI::App& program);
Verb unmount_verb(CLI::App& program);
Verb files_verb(CLI::App& program);
Verb check_verb(CLI::App& program);
Verb dump_verb(CLI::App& program);
Verb metrics_verb(CLI::App& program);

}  // namespace coppice::cli
