#include "cli/selection.h"

#include <set>

namespace coppice::cli {
namespace {

Outcome<Spec> end_of(const std::string& disk, const std::string& snapshot) {
  return parse_spec(snapshot.empty() ? disk : disk + "@" + snapshot);
}

Task<Outcome<std::vector<Spec>>> snapshots_of(Store& store, std::string disk) {
  auto nodes = co_await store.tree(disk);
  if (!nodes) co_return std::unexpected(nodes.error());
  std::vector<Spec> specs;
  for (const NodeInfo& node : *nodes) {
    if (node.kind == NodeInfo::Kind::kSnapshot && node.disk == disk) specs.push_back({disk, node.snapshot});
  }
  co_return specs;
}

}  // namespace

Outcome<Selection> parse_selection(const std::string& text) {
  const auto percent = text.find('%');
  if (percent == std::string::npos) {
    auto spec = parse_spec(text);
    if (!spec) return std::unexpected(spec.error());
    return Selection{.first = *spec, .last = *spec};
  }
  const auto at = text.find('@');
  if (at == std::string::npos || at > percent) {
    return refuse(ErrorKind::kInvalid, "'%' stands in a range of snapshots only: DISK@FIRST%LAST");
  }
  const std::string disk = text.substr(0, at);
  auto first = end_of(disk, text.substr(at + 1, percent - at - 1));
  if (!first) return std::unexpected(first.error());
  auto last = end_of(disk, text.substr(percent + 1));
  if (!last) return std::unexpected(last.error());
  return Selection{.first = *first, .last = *last, .is_range = true};
}

Task<Outcome<std::vector<Spec>>> with_groups(Store& store, std::vector<Spec> named, GroupNeed need) {
  std::vector<Spec> specs;
  std::set<std::string> seen;
  for (const Spec& spec : named) {
    if (seen.contains(spec.text())) continue;
    auto group = co_await store.group(spec);
    if (!group) co_return std::unexpected(group.error());
    const std::uint64_t there = group->snapshots.size();
    if (need == GroupNeed::kWhole && there < group->taken) {
      co_return refuse(ErrorKind::kInvalid,
                       spec.text() + " was taken with " + std::to_string(group->taken - 1) +
                           " others, of which " + std::to_string(group->taken - there) +
                           " are gone or in the trash: 'coppice ls --group " + spec.text() +
                           "' lists what is there; name those to go back to, without --group");
    }
    for (Spec& member : group->snapshots) {
      seen.insert(member.text());
      specs.push_back(std::move(member));
    }
  }
  co_return specs;
}

Task<Outcome<std::vector<Spec>>> expand(Store& store, std::vector<Selection> selections,
                                        Expansion expansion) {
  std::vector<Spec> specs;
  for (const Selection& selection : selections) {
    if (!selection.is_range) specs.push_back(selection.first);
    Outcome<std::vector<Spec>> more;
    if (selection.is_range) {
      more = co_await store.range(selection.first, selection.last);
    } else if (expansion.whole_disks && !selection.first.is_snapshot()) {
      more = co_await snapshots_of(store, selection.first.disk);
    }
    if (!more) co_return std::unexpected(more.error());
    specs.insert(specs.end(), more->begin(), more->end());
  }
  if (expansion.groups) co_return co_await with_groups(store, std::move(specs), GroupNeed::kAny);
  co_return specs;
}

}  // namespace coppice::cli
