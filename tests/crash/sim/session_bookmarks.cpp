// Snapshots whose data is given up: what changed since is told, whatever crashes.
#include <fmt/format.h>

#include "session.h"

namespace coppice::sim {

namespace {

constexpr std::size_t kMostBookmarks = 4;

template <class Map>
std::string some_key(const Map& map, Rng& rng) {
  return std::next(map.begin(), static_cast<std::ptrdiff_t>(rng.below(map.size())))->first;
}

}  // namespace

Task<void> Session::verb_bookmark(Rng& rng) {
  const std::string name = pick_disk(rng);
  if (name.empty()) co_return;
  DiskModel& disk = *shared_.oracle.disks[name];
  if (disk.snapshots.empty()) co_return;
  const std::string snapshot = some_key(disk.snapshots, rng);
  if (!disk.bookmarks.empty() && !rng.once_in(3)) {
    const std::string from = some_key(disk.bookmarks, rng);
    co_await verb_diff_bookmark(disk, from, snapshot);
  } else if (disk.bookmarks.size() >= kMostBookmarks || (!disk.bookmarks.empty() && rng.once_in(6))) {
    const std::string old = some_key(disk.bookmarks, rng);
    co_await verb_drop_bookmark(disk, old);
  } else {
    co_await verb_keep_changes(disk, snapshot);
  }
}

// What it held has to be known before it is gone.
Task<void> Session::verb_keep_changes(DiskModel& disk, std::string name) {
  if (!disk.snapshots[name].exact) co_await check_snapshot(disk, name);
  if (!shared_.violation.empty() || !disk.snapshots[name].exact) co_return;
  PendingVerb& verb = shared_.pending;
  verb = {};
  verb.specs = {{disk.name, name}};
  verb.kind = PendingVerb::Kind::kKeepChanges;
  auto done = co_await process_.store->keep_changes(verb.specs);
  conclude(done.has_value());
  if (!done) {
    failed_rightly(done.error(), "keep changes");
    co_return;
  }
  if (!disk.snapshots[name].holds.empty()) shared_.violate(name + " was held, and its data is given up");
  disk.bookmarks[name] = std::move(disk.snapshots[name]);
  disk.snapshots.erase(name);
}

Task<void> Session::verb_drop_bookmark(DiskModel& disk, std::string name) {
  PendingVerb& verb = shared_.pending;
  verb = {};
  verb.specs = {{disk.name, name}};
  verb.kind = PendingVerb::Kind::kDropBookmark;
  auto done = co_await process_.store->remove(verb.specs, false);
  conclude(done.has_value());
  if (done) {
    disk.bookmarks.erase(name);
  } else {
    failed_rightly(done.error(), "drop bookmark");
  }
}

// Never "copy in full": the branch that it stands on is there as long as it is.
Task<void> Session::verb_diff_bookmark(DiskModel& disk, std::string from, std::string to) {
  if (!disk.snapshots[to].exact) co_await check_snapshot(disk, to);
  if (!shared_.violation.empty() || !disk.snapshots[to].exact) co_return;
  auto ranges = co_await process_.store->diff({disk.name, from}, {disk.name, to}, 0);
  if (!ranges) {
    failed_rightly(ranges.error(), "diff from a bookmark");
    co_return;
  }
  check_diff(fmt::format("{} from bookmark {} to {}", disk.name, from, to), *ranges, disk.bookmarks[from],
             disk.snapshots[to]);
}

Task<void> Session::settle_bookmark(PendingVerb& verb) {
  DiskModel& disk = *shared_.oracle.disks[verb.specs[0].disk];
  const std::string name = verb.specs[0].snapshot;
  auto info = co_await process_.store->info(verb.specs[0]);
  const bool kept = info && info->kind == NodeInfo::Kind::kChanges;
  if (verb.kind == PendingVerb::Kind::kDropBookmark) {
    if (!info) disk.bookmarks.erase(name);
  } else if (kept) {
    disk.bookmarks[name] = std::move(disk.snapshots[name]);
    disk.snapshots.erase(name);
  }
}

}  // namespace coppice::sim
