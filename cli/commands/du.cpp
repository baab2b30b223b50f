#include <memory>

#include "cli/policy_text.h"
#include "cli/table.h"
#include "cli/verb.h"
#include "coppice/bytes.h"

namespace coppice::cli {
namespace {

std::string bytes(const Json& entry, const char* key) {
  return format_size(entry.value(key, std::uint64_t{0}));
}

std::string quota_of(const Json& disk) {
  QuotaInfo quota;
  const Json limit = disk.value("quota", Json());
  const Json charged = disk.value("charged", Json());
  if (limit.is_number()) quota.limit_bytes = limit.get<std::uint64_t>();
  if (charged.is_number()) quota.charged_bytes = charged.get<std::uint64_t>();
  return quota_text(quota);
}

// A disk that is not all there is to it has a line for the whole.
std::string render_spaces(const Json& spaces) {
  using enum Table::Align;
  Table table({kLeft, kRight, kRight, kRight, kLeft});
  table.add({"NAME", "OWN", "SHARED", "RM FREES", ""});
  const Json* whole = nullptr;
  std::string disk;
  std::string quota;
  std::size_t rows = 0;
  const auto end_disk = [&] {
    if (whole != nullptr && rows > 1)
      table.add(
          {disk + ", all of it", bytes(*whole, "own"), bytes(*whole, "shared"), bytes(*whole, "own"), quota});
    rows = 0;
  };
  for (const auto& space : spaces) {
    const std::string name = space.value("name", "");
    if (name.substr(0, name.find('@')) != disk) {
      end_disk();
      disk = name.substr(0, name.find('@'));
      whole = nullptr;
    }
    const auto all = space.find("disk");
    if (all != space.end() && all->is_object()) whole = &*all;
    if (whole != nullptr && &*all == whole) quota = quota_of(*whole);
    ++rows;
    table.add({name, bytes(space, "own"), bytes(space, "shared"), bytes(space, "frees"),
               name == disk ? quota : std::string()});
  }
  end_disk();
  return table.text();
}

std::string render_pools(const Json& pools) {
  using enum Table::Align;
  Table table({kLeft, kRight, kRight, kRight, kLeft});
  table.add({"POOL", "USED", "RESERVED", "SIZE", ""});
  for (const auto& pool : pools) {
    table.add({pool.value("path", ""), bytes(pool, "used"), bytes(pool, "reserved"), bytes(pool, "size"),
               pool.value("grows", false) ? "grows by itself" : ""});
  }
  return table.text();
}

std::string render_set(const Json& set) {
  const auto count = set.value("names", Json::array()).size();
  return std::to_string(count) + (count == 1 ? " disk or snapshot" : " disks and snapshots") +
         " together: own " + bytes(set, "own") + ", shared with others " + bytes(set, "shared") +
         "; removing " + (count == 1 ? "it" : "all of them") + " would free " + bytes(set, "frees") + "\n";
}

bool is_one_disk(const std::vector<std::string>& names) {
  return names.size() <= 1 && (names.empty() || names.front().find_first_of("@%") == std::string::npos);
}

Outcome<int> du(const std::vector<std::string>& names, bool group, Context& context) {
  if (group && names.empty()) return refuse(ErrorKind::kInvalid, "du --group: name a snapshot: DISK@SNAP");
  if (group || !is_one_disk(names)) {
    const Json params{{"specs", names}, {"group", group}};
    return context.answer(Request{.method = "space-of", .params = params}, render_set);
  }
  Json params = Json::object();
  if (!names.empty()) params["disk"] = names.front();
  auto spaces = context.session.call(Request{.method = "space", .params = params});
  if (!spaces) return std::unexpected(spaces.error());
  Json pools = Json::array();
  if (names.empty() && !context.json) {
    auto asked = context.session.call(Request{.method = "pools"});
    if (!asked) return std::unexpected(asked.error());
    pools = std::move(*asked);
  }
  context.print(*spaces, [&pools](const Json& document) {
    std::string text = document.empty() ? "" : render_spaces(document);
    if (!pools.empty()) text += (text.empty() ? "" : "\n") + render_pools(pools);
    return text;
  });
  return kYes;
}

}  // namespace

Verb du_verb(CLI::App& program) {
  auto names = std::make_shared<std::vector<std::string>>();
  auto group = std::make_shared<bool>(false);
  Parser parser(program,
                {"du",
                 "Tell what disks and snapshots occupy, and what removing each would free; of several, or "
                 "of a range, what removing all of them together would",
                 "coppice du web@monday%friday"});
  parser.optional_arguments(
      "DISK[@SNAP[%SNAP]]", *names,
      "A disk: it and its snapshots, each. A snapshot, a range (DISK@FIRST%LAST; without an "
      "end: up to the beginning, or the disk) or several: all of them together");
  parser.flag("--group", *group, "With a snapshot, those of other disks that were taken together with it");
  return {parser, [names, group](Context& context) { return du(*names, *group, context); }};
}

}  // namespace coppice::cli
