#include "overhead/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <iostream>

#include "coppice/bytes.h"
#include "overhead/figures.h"

namespace coppice::bench {

namespace {

std::string default_directory(const char* program) {
  std::error_code unknown;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", unknown);
  return ((unknown ? std::filesystem::path(program) : self).parent_path() / "scratch").string();
}

void check_names(const std::vector<std::string>& names) {
  const auto known = figure_names();
  for (const std::string& name : names) {
    if (std::ranges::find(known, name) != known.end()) continue;
    std::cerr << "overhead: there is no figure '" << name << "'; see --help\n";
    std::exit(2);
  }
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Options options;
  options.directory = default_directory(argv[0]);
  std::string size = "4G";
  unsigned slice_ms = 250;
  unsigned long_seconds = 75;
  unsigned minutes = 38;
  CLI::App app("The engine beside the raw device, in alternating slices of one process");
  auto* pairs = app.add_option("--pairs", options.pairs, "slices of each side (default 24)");
  auto* slice_option = app.add_option("--slice-ms", slice_ms, "length of a slice (default 250)");
  auto* size_option = app.add_option("--size", size, "of the main disk and of the raw side (default 4G)");
  app.add_option("--dir", options.directory, "where the store goes (default: beside the program)");
  app.add_option("--only", options.only, "figures, with commas")->delimiter(',');
  app.add_option("--long-seconds", long_seconds, "at most, for each long run; 0: none (default 75)");
  app.add_option("--minutes", minutes, "after these, no long run and no figure is started (default 38)");
  app.add_flag("--quick", options.quick, "a few short slices on a small disk, to see that it works");
  app.add_flag("--json", options.json, "one JSON line for each figure");
  app.add_option("--profile", options.profile, "run that side alone, for a profiler; prints no figures")
      ->check(CLI::IsMember({"engine", "raw"}));
  app.add_option("--crash-child", options.crash_child)->group("");
  std::string names = "Figures:";
  for (const std::string& name : figure_names()) names += " " + name;
  app.footer(names);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : 2);
  }
  check_names(options.only);
  if (options.quick && pairs->count() == 0) options.pairs = 3;
  if (options.quick && size_option->count() == 0) size = "128M";
  if (options.quick && slice_option->count() == 0) slice_ms = 50;
  const auto bytes = parse_size(size);
  if (!bytes || *bytes < (std::uint64_t{64} << 20) || options.pairs == 0 || slice_ms == 0) {
    std::cerr << "overhead: --size is at least 64M, --pairs and --slice-ms at least 1\n";
    std::exit(2);
  }
  options.size_bytes = *bytes >> 20 << 20;
  options.slice = std::chrono::milliseconds(slice_ms);
  options.long_limit = std::chrono::seconds(long_seconds);
  options.time_limit = std::chrono::minutes(minutes);
  return options;
}

}  // namespace coppice::bench
