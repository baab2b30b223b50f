#include <charconv>
#include <memory>

#include "cli/policy_text.h"
#include "cli/table.h"
#include "cli/time_text.h"
#include "cli/verb.h"
#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

struct Options {
  std::string disk;
  std::string hourly;
  std::string daily;
  std::string weekly;
  std::string monthly;
  bool off = false;
  bool dry_run = false;
};

constexpr const char* kKinds[] = {"hourly", "daily", "weekly", "monthly"};

std::string rules_text(const Json& answer) {
  std::vector<std::string> parts;
  for (const char* kind : kKinds) {
    const auto count = answer.value(kind, std::uint64_t{0});
    if (count != 0) parts.push_back(std::to_string(count) + " " + kind);
  }
  return joined(parts);
}

std::string render(const Json& answer) {
  const std::string name = answer.value("name", "");
  const std::string rules = rules_text(answer);
  if (rules.empty()) return name + " has no schedule: coppice schedule " + name + " --hourly 24 --daily 7\n";
  std::string text = name + " keeps " + rules + "; the next snapshot at " + text_of(answer, "next") + "\n";
  Table table({Table::Align::kLeft, Table::Align::kLeft, Table::Align::kLeft});
  for (const Json& snapshot : answer.value("snapshots", Json::array())) {
    const auto kept = snapshot.value("kept_as", std::vector<std::string>());
    table.add({snapshot.value("name", ""), snapshot.value("created", ""),
               kept.empty() ? "to be removed" : "kept: " + joined(kept)});
  }
  text += table.text();
  const std::size_t removes = answer.value("removes", Json::array()).size();
  if (removes != 0) {
    text += std::to_string(removes) + (removes == 1 ? " is" : " are") + " to be removed, which frees " +
            format_size(answer.value("frees", std::uint64_t{0})) + "\n";
  }
  return text;
}

Outcome<std::uint64_t> count_of(const char* option, const std::string& text) {
  std::uint64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (!text.empty() && error == std::errc() && end == text.data() + text.size()) return count;
  return refuse(ErrorKind::kInvalid,
                std::string("--") + option + ": '" + text + "' is no number of snapshots to keep");
}

Outcome<int> schedule(const Options& options, Context& context) {
  const std::string* values[] = {&options.hourly, &options.daily, &options.weekly, &options.monthly};
  Json params{{"disk", options.disk}, {"dry_run", options.dry_run}};
  std::uint64_t all = 0;
  bool given = false;
  for (std::size_t i = 0; i < std::size(kKinds); ++i) {
    if (values[i]->empty()) continue;
    auto count = count_of(kKinds[i], *values[i]);
    if (!count) return std::unexpected(count.error());
    params[kKinds[i]] = *count;
    all += *count;
    given = true;
  }
  if (given && options.off)
    return refuse(ErrorKind::kInvalid, "schedule: --off ends it: give no numbers with it");
  if (given && all == 0)
    return refuse(ErrorKind::kInvalid, "schedule: that keeps nothing: give a number, or --off");
  params["change"] = given || options.off;
  return context.answer(Request{.method = "schedule", .params = params}, render);
}

}  // namespace

Verb schedule_verb(CLI::App& program) {
  auto options = std::make_shared<Options>();
  Parser parser(program,
                {"schedule",
                 "Let `coppice serve` take snapshots of a disk and remove them in time; without an option, "
                 "tell about it",
                 "coppice schedule web --hourly 24 --daily 7 --weekly 4 --monthly 12"});
  parser.argument("DISK", options->disk, "The disk")
      .option({"--hourly", "N", "Keep the last one of each of the last N hours that have one"},
              options->hourly)
      .option({"--daily", "N", "… of each of N days (UTC)"}, options->daily)
      .option({"--weekly", "N", "… of each of N weeks, from Monday"}, options->weekly)
      .option({"--monthly", "N", "… of each of N months"}, options->monthly)
      .flag("--off", options->off, "End it: what it made stays, and is not removed any more")
      .flag("--dry-run", options->dry_run, "Say what would be kept and removed, and change nothing")
      .exclusive("--off", "--dry-run");
  return {parser, [options](Context& context) { return schedule(*options, context); }};
}

}  // namespace coppice::cli
