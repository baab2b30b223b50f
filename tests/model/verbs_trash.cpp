// Disks that were removed and can be brought back, until their time has come.
#include <algorithm>

#include "world.h"

namespace coppice::test {

namespace {
constexpr std::int64_t kDayMs = std::int64_t{24} * 3'600'000;
}

void World::trash() {
  if (disks_.size() < 2) return;
  const std::string disk = some_disk();
  const std::vector<int> all = nodes_of(disk);
  const bool with_snapshots = !one_in(4);
  note("rm " + disk + (with_snapshots ? " --snapshots" : ""));
  const auto verb = [&] { return store().trash({{disk, ""}}, with_snapshots); };
  require_busy_and_detach(disk, "rm of " + disk, verb);
  const std::set<int> leaving(all.begin(), all.end());
  const bool needed = std::ranges::any_of(
      all, [&](int node) { return cloned_away(node, leaving, true) || !nodes_.at(node).holds.empty(); });
  if (needed || (!with_snapshots && all.size() > 1))
    return require_refused(run(verb()), ErrorKind::kBusy, "rm of " + disk);
  change(verb(), "rm " + disk, [=, this] {
    ModelTrash removed{disk, disks_.at(disk), {}, {}, host_.wall_ms};
    for (const int id : nodes_of(disk)) removed.nodes.insert(nodes_.extract(id));
    for (auto at = bookmarks_.begin(); at != bookmarks_.end();) {
      const auto next = std::next(at);
      if (at->second.disk == disk) removed.bookmarks.insert(bookmarks_.extract(at));
      at = next;
    }
    removed.nodes.at(removed.disk.head).unflushed.clear();
    disks_.erase(disk);
    trash_.push_back(std::move(removed));
  });
}

void World::undelete() {
  require_refused(run(store().undelete("nothing-of-that-name", "")), ErrorKind::kNotFound, "undelete");
  if (trash_.empty()) return;
  const ModelTrash& chosen = trash_[below(trash_.size())];
  const std::string old_name = chosen.name;
  const std::string name = one_in(2) ? old_name : new_name("u");
  note("undelete " + old_name + " " + name);
  const std::string taken = some_disk();
  require_refused(run(store().undelete(old_name, taken)), ErrorKind::kExists, "undelete as " + taken);
  // It must not come back before what it stands on.
  const bool floats = std::ranges::any_of(chosen.nodes, [&](const auto& entry) {
    return entry.second.parent != 0 && !nodes_.contains(entry.second.parent) &&
           !chosen.nodes.contains(entry.second.parent);
  });
  if (floats)
    return require_refused(run(store().undelete(old_name, name)), ErrorKind::kBusy, "undelete " + old_name);
  if (disks_.size() >= kMostDisks + 2) return;
  change(store().undelete(old_name, name), "undelete " + old_name, [=, this] {
    const auto place = std::ranges::find(trash_, old_name, &ModelTrash::name);
    for (auto* all : {&place->nodes, &place->bookmarks})
      for (auto& [id, node] : *all) node.disk = name;
    disks_[name] = place->disk;
    nodes_.merge(place->nodes);
    bookmarks_.merge(place->bookmarks);
    trash_.erase(place);
  });
  for (const int id : nodes_of(name)) verify_node(id);
}

// What its end gives back is told before.
void World::purge() {
  if (trash_.empty()) return;
  const ModelTrash& chosen = trash_[below(trash_.size())];
  const std::string name = chosen.name;
  note("rm --trash " + name);
  const bool needed = std::ranges::any_of(trash_, [&](const ModelTrash& other) {
    return other.name != name && std::ranges::any_of(other.nodes, [&](const auto& entry) {
             return chosen.nodes.contains(entry.second.parent);
           });
  });
  if (needed) return require_refused(run(store().purge({name})), ErrorKind::kBusy, "rm --trash " + name);
  require(run(store().wait_for_reclaim()), "reclaim");
  auto all = run(store().trashed());
  require(all, "trash");
  const std::uint64_t foretold = std::ranges::find(*all, name, &TrashInfo::disk)->frees_bytes;
  const std::uint64_t before = used_bytes();
  change(store().purge({name}), "rm --trash " + name, [=, this] { note_purged(name); });
  require(run(store().wait_for_reclaim()), "reclaim");
  const std::uint64_t freed = before - used_bytes();
  expect(freed == foretold, "rm --trash " + name + " freed " + std::to_string(freed) + " bytes, not " +
                                std::to_string(foretold));
}

void World::note_purged(const std::string& name) {
  const auto place = std::ranges::find(trash_, name, &ModelTrash::name);
  // Those above go with it, so what stands on one of its nodes stands on what the last of them stands on.
  const Nodes gone = std::move(place->nodes);
  trash_.erase(place);
  for (const auto& [id, node] : gone) {
    int parent = node.parent;
    while (gone.contains(parent)) parent = gone.at(parent).parent;
    leave_node(id, parent);
  }
}

void World::settle_old_trash(bool acknowledged) {
  auto all = run(store().trashed());
  require(all, "trash");
  std::vector<std::string> old;
  for (const ModelTrash& each : trash_)
    if (each.removed_ms + kDayMs <= host_.wall_ms) old.push_back(each.name);
  for (const std::string& name : old) {
    const bool there = std::ranges::any_of(*all, [&](const TrashInfo& info) { return info.disk == name; });
    expect(!there || !acknowledged, name + " was in the trash for a day, and stays");
    if (!there) note_purged(name);
  }
}

// A full pool has taken some.
void World::settle_taken_trash() {
  auto all = run(store().trashed());
  require(all, "trash");
  std::vector<std::string> gone;
  for (const ModelTrash& each : trash_)
    if (std::ranges::find(*all, each.name, &TrashInfo::disk) == all->end()) gone.push_back(each.name);
  for (const std::string& name : gone) note_purged(name);
}

void World::check_trash() {
  auto all = run(store().trashed());
  require(all, "trash");
  expect(all->size() == trash_.size(),
         "trash: " + std::to_string(all->size()) + " disks are in it, not " + std::to_string(trash_.size()));
  for (const ModelTrash& each : trash_) {
    const auto info = std::ranges::find(*all, each.name, &TrashInfo::disk);
    expect(info != all->end(), "trash: " + each.name + " is not in it");
    expect(info->removed_unix_ms == each.removed_ms && info->snapshots == each.nodes.size() - 1 &&
               info->size_bytes == each.nodes.at(each.disk.head).content.size_bytes(),
           "trash: " + each.name + " is in it, but not as it was put there");
  }
}

}  // namespace coppice::test
