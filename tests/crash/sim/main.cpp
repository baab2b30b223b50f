// coppice_sim: crashes of the engine, simulated from seeds.
//
//   coppice_sim --seeds 1000                  random programs, several crashes each
//   coppice_sim --seeds 1000 --branch-every 20   … and, about every 20 steps, a crash that a fork of it makes
//   coppice_sim --crash-points --seeds 4      one life per seed, and a crash at every step of it
//   coppice_sim --scene NAME --seeds 50       a short program that leads to one state, and crashes there
//   coppice_sim --mutation NAME --seeds 500   with one ordering rule removed: must find a violation
//   coppice_sim --mutations                   all of them, one after the other
// Seeds run in child processes, since a crash leaves memory behind.
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <string_view>

#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "keep_memory.h"
#include "mutations.h"
#include "run.h"

namespace {

using namespace coppice;
using namespace coppice::sim;

struct Options {
  RunOptions run;
  std::uint64_t seeds = 400;
  bool mutations = false;
  std::uint64_t budget_seconds = 0;  // 0: none
  std::string mutation;
};

// Written by the children, read by the parent.
struct Totals {
  std::uint64_t seed = 0;
  std::uint64_t branch = 0;
  std::uint64_t done = 0;
  std::uint64_t crashes = 0;
  std::uint64_t recoveries_cut = 0;
  std::uint64_t closes = 0;
  std::uint64_t operations = 0;
  std::uint64_t verbs = 0;
  std::uint64_t maps_lost = 0;
  std::uint64_t violations = 0;
  char violation[1000] = {};
};

constexpr std::uint64_t kSeedsPerChild = 20;
constexpr std::uint64_t kMostViolations = 5;

const char* kind_text(Kinds kinds) {
  return kinds == Kinds::kKill ? "kill" : kinds == Kinds::kPower ? "power" : "both";
}

std::string replay_line(const Options& options, const Totals& totals) {
  std::string line =
      fmt::format("coppice_sim --seed {} --seeds 1 --crashes {} --steps {} --kind {}", totals.seed,
                  options.run.crashes, options.run.most_steps, kind_text(options.run.kinds));
  if (options.run.branch_every != 0) line += fmt::format(" --branch-every {}", options.run.branch_every);
  if (totals.branch != 0) line += fmt::format(" --branch {}", totals.branch);
  if (options.run.faults) line += " --faults";
  if (options.run.attachments) line += " --attachments";
  if (options.run.quiet) line += " --quiet";
  if (!options.run.scene.empty()) line += " --scene " + options.run.scene;
  if (!options.run.favour.empty()) line += " --favour " + options.run.favour;
  if (!options.mutation.empty()) line += " --mutation " + options.mutation;
  return line;
}

void run_seeds(const Options& options, std::uint64_t first, std::uint64_t count, Totals& totals) {
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    totals.seed = seed;
    RunOptions run = options.run;
    run.seed = seed;
    const RunResult result = run_seed(run);
    ++totals.done;
    totals.crashes += result.crashes;
    totals.recoveries_cut += result.recoveries_cut;
    totals.closes += result.closes;
    totals.operations += result.operations;
    totals.verbs += result.verbs;
    totals.maps_lost += result.maps_lost;
    if (result.violation.empty()) continue;
    ++totals.violations;
    totals.branch = result.branch;
    std::snprintf(totals.violation, sizeof totals.violation, "%s", result.violation.c_str());
    return;
  }
}

// The violation that a group of seeds found, or nothing.
std::string run_in_child(const Options& options, std::uint64_t first, std::uint64_t count, Totals& totals) {
  const std::uint64_t before = totals.violations;
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    const bool quiet = options.mutations || !options.mutation.empty();
    if (quiet && std::freopen("/dev/null", "w", stderr) == nullptr) _exit(3);
    run_seeds(options, first, count, totals);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (totals.violations != before) return totals.violation;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  ++totals.violations;
  ++totals.done;
  return WIFSIGNALED(status) ? fmt::format("the engine died of signal {}", WTERMSIG(status))
                             : fmt::format("the engine ended with status {}", WEXITSTATUS(status));
}

Totals* shared_totals() {
  void* memory = mmap(nullptr, sizeof(Totals), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  return new (memory) Totals;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Runs seeds until the first `most_violations`; tells of each.
void run_all(const Options& options, Totals& totals, std::uint64_t most_violations, bool tell) {
  const auto start = std::chrono::steady_clock::now();
  for (std::uint64_t done = 0; done < options.seeds;) {
    // Branches fork what the child has in memory: that stays small. And the budget is looked at between
    // children.
    const bool alone = options.run.branch_every != 0 || !options.run.scene.empty();
    const std::uint64_t together = alone ? 1 : kSeedsPerChild;
    const std::uint64_t some = std::min(together, options.seeds - done);
    const std::uint64_t before = totals.done;
    const std::string violation = run_in_child(options, options.run.seed + done, some, totals);
    if (violation.empty()) {
      done += some;
    } else {
      done += std::max<std::uint64_t>(1, totals.done - before);
      if (tell) fmt::print("VIOLATION: {}\n  replay: {}\n", violation, replay_line(options, totals));
      if (totals.violations >= most_violations) return;
    }
    if (options.budget_seconds != 0 && seconds_since(start) > static_cast<double>(options.budget_seconds))
      return;
  }
}

int run_plain(const Options& options) {
  const auto start = std::chrono::steady_clock::now();
  Totals& totals = *shared_totals();
  run_all(options, totals, options.mutation.empty() ? kMostViolations : 1, true);
  fmt::print(
      "{} runs, {} crashes simulated ({} of them during recovery), {} maps lost and made anew, {} clean "
      "closes, "
      "{} requests, {} verbs, {} violations, {:.1f} s\n",
      totals.done, totals.crashes, totals.recoveries_cut, totals.maps_lost, totals.closes, totals.operations,
      totals.verbs, totals.violations, seconds_since(start));
  return totals.violations == 0 ? 0 : 1;
}

[[noreturn]] void usage() {
  fmt::print(stderr,
             "usage: coppice_sim [--seed N] [--seeds N] [--crashes N] [--steps N]\n"
             "                   [--kind kill|power|both] [--faults] [--attachments] [--dump] [--seconds N]\n"
             "                   [--quiet] [--favour VERB] [--scene NAME]\n"
             "                   [--crash-points] [--branch-every N] [--branch N]\n"
             "                   [--mutation NAME] [--mutations] [--list-mutations]\n");
  std::exit(2);
}

std::uint64_t number(std::string_view text) {
  std::uint64_t value = 0;
  const char* end = text.data() + text.size();
  if (text.empty() || std::from_chars(text.data(), end, value).ptr != end) usage();
  return value;
}

Kinds kind_of(const std::string& text) {
  if (text == "kill") return Kinds::kKill;
  if (text == "power") return Kinds::kPower;
  if (text == "both") return Kinds::kBoth;
  usage();
}

std::string scene_named(const std::string& name) {
  if (find_scene(name) == nullptr) usage();
  return name;
}

void take_options(const std::vector<std::string>& arguments, Options& options) {
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string name = arguments[i];
    const auto value = [&] { return i + 1 < arguments.size() ? arguments[++i] : std::string(); };
    if (name == "--seed")
      options.run.seed = number(value());
    else if (name == "--seeds")
      options.seeds = number(value());
    else if (name == "--crashes")
      options.run.crashes = number(value());
    else if (name == "--steps")
      options.run.most_steps = number(value());
    else if (name == "--branch-every")
      options.run.branch_every = number(value());
    else if (name == "--branch")
      options.run.branch = number(value());
    else if (name == "--seconds")
      options.budget_seconds = number(value());
    else if (name == "--kind")
      options.run.kinds = kind_of(value());
    else if (name == "--dump")
      options.run.dump = true;
    else if (name == "--faults")
      options.run.faults = true;
    else if (name == "--attachments")
      options.run.attachments = true;
    else if (name == "--quiet")
      options.run.quiet = true;
    else if (name == "--scene")
      options.run.scene = scene_named(value());
    else if (name == "--favour")
      options.run.favour = value();
    else if (name == "--crash-points")
      options.run.crashes = options.run.branch_every = 1;
    else if (name == "--mutations")
      options.mutations = true;
    else if (name == "--mutation")
      options.mutation = value();
    else if (name == "--list-mutations") {
      for (const NamedMutation& each : all_mutations()) fmt::print("{:<28} {}\n", each.name, each.options);
      std::exit(0);
    } else
      usage();
  }
}

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  std::istringstream in{std::string(text)};
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

// What a mutation is caught with goes first, so that it can be said otherwise.
Options parse(int count, char** arguments) {
  const std::vector<std::string> given(arguments + 1, arguments + count);
  Options options;
  if (const char* seeds = std::getenv("COPPICE_SIM_SEEDS")) options.seeds = number(seeds);
  const auto named = std::ranges::find(given, "--mutation");
  for (const NamedMutation& each : all_mutations()) {
    if (named != given.end() && named + 1 != given.end() && each.name == *(named + 1))
      take_options(words_of(each.options), options);
  }
  take_options(given, options);
  return options;
}

#ifdef COPPICE_MUTATIONS
int run_mutations(const Options& given) {
  int missed = 0;
  for (const NamedMutation& each : all_mutations()) {
    const auto start = std::chrono::steady_clock::now();
    Options options = given;
    take_options(words_of(each.options), options);
    options.mutation = each.name;
    active_mutation = each.mutation;
    Totals& totals = *shared_totals();
    run_all(options, totals, 1, false);
    // A scene that misses its state shows nothing.
    const bool caught = totals.violations != 0 && !std::string_view(totals.violation).starts_with("scene: ");
    if (!caught) ++missed;
    fmt::print("{:<28} {} after {} seeds, {} crashes, {:.1f} s{}{}\n", each.name,
               caught ? "caught" : "NOT CAUGHT", totals.done, totals.crashes, seconds_since(start),
               totals.violation[0] != 0 ? ": " : "", std::string(totals.violation).substr(0, 100));
    std::fflush(stdout);
  }
  fmt::print("{} mutations tried, {} not caught\n", all_mutations().size(), missed);
  return missed == 0 ? 0 : 1;
}

bool choose_mutation(const std::string& name) {
  for (const NamedMutation& each : all_mutations()) {
    if (each.name != name) continue;
    active_mutation = each.mutation;
    return true;
  }
  return false;
}
#endif

}  // namespace

int main(int count, char** arguments) {
  keep_memory();
  const Options options = parse(count, arguments);
#ifdef COPPICE_MUTATIONS
  if (options.mutations) return run_mutations(options);
  if (!options.mutation.empty() && !choose_mutation(options.mutation)) usage();
#else
  if (options.mutations || !options.mutation.empty()) {
    fmt::print(stderr, "coppice_sim: this build has no mutations: configure with -DCOPPICE_MUTATIONS=ON\n");
    return 2;
  }
#endif
  return run_plain(options);
}
