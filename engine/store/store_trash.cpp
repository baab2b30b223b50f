// The trash: disks that were removed and can still be brought back. Such a disk keeps its nodes, its head and
// its id; only its name is gone. Nothing that is not in the trash stands on one that is.
#include <fmt/format.h>

#include <algorithm>

#include "base/mutation.h"
#include "store/store_impl.h"
#include "tree/fate.h"

namespace coppice {

namespace {

constexpr std::chrono::nanoseconds kForksAgain = std::chrono::seconds(10);
constexpr std::int64_t kKeptMs = std::int64_t{24} * 60 * 60 * 1000;

}  // namespace

Task<Outcome<std::int64_t>> StoreImpl::trash(std::vector<Spec> specs, bool with_snapshots) {
  auto writable = require_writable();
  if (!writable) co_return std::unexpected(writable.error());
  const std::int64_t now = wall_now();
  co_await verbs_.lock();
  auto done = co_await do_trash(std::move(specs), with_snapshots, now);
  verbs_.unlock();
  if (!done) co_return std::unexpected(done.error());
  housekeeper_.wake_reclaimer();
  co_return now + kKeptMs;
}

// One record: all of it happens, or nothing. Behind a commit of what the disks' clients had written.
Task<Outcome<>> StoreImpl::do_trash(std::vector<Spec> specs, bool with_snapshots, std::int64_t now_ms) {
  auto leaving = plan_leaving(specs, with_snapshots);
  if (!leaving) co_return std::unexpected(leaving.error());
  auto free = check_leaving(*leaving, true);
  if (!free) co_return free;
  const Tree& tree = engine_->tree();
  const auto plan = [&] {
    Tree::Edits edits;
    const auto append = [&edits](const Tree::Edits& some) {
      edits.insert(edits.end(), some.begin(), some.end());
    };
    for (const DiskId disk : leaving->disks) append(tree.plan_trash(disk, now_ms));
    for (const auto& [id, spec] : leaving->nodes) {
      if (!leaving->contains(tree.node(id)->value.disk)) append(tree.plan_kill_node(id));
    }
    std::set<NodeId> bookmarks;
    for (const auto& [id, spec] : leaving->bookmarks) {
      if (!leaving->contains(tree.bookmarks().at(id).disk)) bookmarks.insert(id);
    }
    append(tree.plan_drop_bookmarks(bookmarks));
    return edits;
  };
  auto done = co_await change(plan, specs.front().text());
  co_return done;
}

Task<Outcome<>> StoreImpl::undelete(std::string disk, std::string new_name) {
  auto writable = require_writable();
  if (!writable) co_return std::unexpected(writable.error());
  co_await verbs_.lock();
  co_await trash_lock_.lock();
  auto done = co_await do_undelete(std::move(disk), std::move(new_name));
  trash_lock_.unlock();
  verbs_.unlock();
  co_return done;
}

Task<Outcome<>> StoreImpl::do_undelete(std::string name, std::string new_name) {
  const Tree& tree = engine_->tree();
  std::vector<DiskId> all = oldest_trash();
  const auto found =
      std::find_if(all.rbegin(), all.rend(), [&](DiskId id) { return tree.disk(id)->value.name == name; });
  if (found == all.rend()) {
    co_return refuse(ErrorKind::kNotFound,
                     fmt::format("disk {} is not in the trash: 'coppice ls --trash' lists what is", name));
  }
  const DiskId disk = *found;
  if (new_name.empty()) new_name = name;
  auto valid = check_name(new_name);
  if (!valid) co_return valid;
  if (tree.find_disk(new_name) != nullptr) {
    co_return refuse(ErrorKind::kExists,
                     fmt::format("disk {} exists already: bring it back under another name, "
                                 "'coppice undelete {} NEWNAME'",
                                 new_name, name));
  }
  for (const NodeId id : tree.nodes_of(disk)) {
    const TreeNode* at = tree.node(tree.node(id)->value.parent);
    while (at != nullptr && at->value.state == NodeState::kDead) at = tree.node(at->value.parent);
    if (at == nullptr || at->value.disk == disk || !tree.trashed(at->value.disk)) continue;
    const std::string origin = tree.disk(at->value.disk)->value.name;
    co_return refuse(ErrorKind::kBusy,
                     fmt::format("disk {} stands on {}@{}, which is in the trash: undelete {} first", name,
                                 origin, at->value.name, origin));
  }
  const auto plan = [&] { return tree.plan_undelete(disk, new_name); };
  auto done = co_await change(plan, "disk " + name);
  co_return done;
}

std::vector<DiskId> StoreImpl::oldest_trash() const {
  const Tree& tree = engine_->tree();
  std::vector<DiskId> disks;
  for (const auto& [id, trashed] : tree.trash()) {
    if (tree.disk(id) != nullptr) disks.push_back(id);
  }
  std::ranges::sort(disks, {}, [&](DiskId id) { return std::pair(tree.trash().at(id).removed_unix_ms, id); });
  std::vector<DiskId> order;
  const auto stays = [&](const TreeNode& child) {
    return std::ranges::find(order, child.value.disk) == order.end();
  };
  const auto ready = [&](DiskId disk) {
    return std::ranges::none_of(tree.nodes_of(disk),
                                [&](NodeId id) { return stands_on(*tree.node(id), stays) != nullptr; });
  };
  while (!disks.empty()) {
    auto next = std::ranges::find_if(disks, ready);
    if (next == disks.end()) next = disks.begin();
    order.push_back(*next);
    disks.erase(next);
  }
  return order;
}

Task<Outcome<>> StoreImpl::purge(std::vector<std::string> disks) {
  auto writable = require_writable();
  if (!writable) co_return std::unexpected(writable.error());
  co_await verbs_.lock();
  co_await trash_lock_.lock();
  auto done = co_await do_purge(std::move(disks));
  trash_lock_.unlock();
  verbs_.unlock();
  if (done) housekeeper_.wake_reclaimer();
  co_return done;
}

Task<Outcome<>> StoreImpl::do_purge(std::vector<std::string> names) {
  const Tree& tree = engine_->tree();
  std::vector<NodeId> nodes;
  Leaving leaving;
  for (const std::string& name : names) {
    const std::size_t before = leaving.disks.size();
    for (const auto& [id, trashed] : tree.trash()) {
      if (tree.disk(id)->value.name != name || leaving.contains(id)) continue;
      leaving.disks.push_back(id);
      for (const NodeId node : tree.nodes_of(id)) leaving.add(node, Spec{name, tree.node(node)->value.name});
    }
    if (leaving.disks.size() != before) continue;
    co_return refuse(ErrorKind::kNotFound,
                     fmt::format("disk {} is not in the trash: 'coppice ls --trash' lists what is", name));
  }
  auto free = check_leaving(leaving, false);
  if (!free) co_return free;
  for (const auto& [id, spec] : leaving.nodes) nodes.push_back(id);
  auto done = co_await kill(std::move(nodes), names.front());
  co_return done;
}

Task<Outcome<>> StoreImpl::purge_disk(DiskId disk) {
  auto done = co_await kill(engine_->tree().nodes_of(disk), engine_->tree().disk(disk)->value.name);
  if (done) housekeeper_.wake_reclaimer();
  co_return done;
}

// A clock that goes back leaves a disk longer in the trash, never shorter than a day by the clock.
Task<Outcome<>> StoreImpl::empty_old_trash() {
  Outcome<> done;
  bool more = true;
  while (done && more) {
    more = false;
    co_await verbs_.lock();
    co_await trash_lock_.lock();
    const Tree& tree = engine_->tree();
    const std::int64_t now = wall_now();
    const std::vector<DiskId> all = oldest_trash();
    const bool due = !all.empty() && tree.trash().at(all.front()).removed_unix_ms + kKeptMs <= now;
    if (due) {
      const std::string name = tree.disk(all.front())->value.name;
      done = co_await purge_disk(all.front());
      if (done) engine_->tell_event("disk " + name + " was in the trash for a day and is removed");
      more = true;
    }
    trash_lock_.unlock();
    verbs_.unlock();
  }
  co_return done;
}

// Heads may have written over what a dead fork holds for them. Not at each request of a full pool's writers:
// mostly there is nothing.
bool StoreImpl::look_into_forks() {
  const auto now = scheduler_.now();
  if (looked_into_forks_ && now - *looked_into_forks_ < kForksAgain) return false;
  looked_into_forks_ = now;
  engine_->reclaimer().look_again();
  housekeeper_.wake_reclaimer();
  return engine_->reclaiming;
}

// For a writer that finds the pool full. Not behind verbs_: a verb may be waiting for the writer.
Task<bool> StoreImpl::make_room() {
  if (mutated(Mutation::kPurgeBehindVerbs)) {
    co_await verbs_.lock();
    verbs_.unlock();
  }
  co_await trash_lock_.lock();
  // Another writer was here before, or something was removed meanwhile.
  bool made = engine_->reclaiming || look_into_forks();
  const std::vector<DiskId> all = oldest_trash();
  if (!made && !all.empty()) {
    engine_->tell("the pool is full: disk " + engine_->tree().disk(all.front())->value.name +
                  " is removed from the trash");
    auto done = co_await purge_disk(all.front());
    made = done.has_value();
  }
  trash_lock_.unlock();
  co_return made;
}

Task<Outcome<std::vector<TrashInfo>>> StoreImpl::trashed() {
  co_await verbs_.lock();
  co_await trash_lock_.lock();
  Tree& tree = engine_->tree();
  std::vector<TrashInfo> infos;
  Outcome<> status;
  for (const DiskId id : oldest_trash()) {
    const TreeDisk& disk = *tree.disk(id);
    const std::vector<NodeId> nodes = tree.nodes_of(id);
    TrashInfo info;
    info.disk = disk.value.name;
    info.size_bytes = tree.node(disk.value.head)->value.size_bytes;
    info.snapshots = nodes.size() - 1;
    info.removed_unix_ms = tree.trash().at(id).removed_unix_ms;
    info.until_unix_ms = info.removed_unix_ms + kKeptMs;
    auto blocks = co_await exclusive_blocks(tree, engine_->map(), nodes);
    if (!blocks) status = refuse(blocks.error(), "disk " + info.disk);
    if (blocks) info.frees_bytes = *blocks * kBlockBytes;
    infos.push_back(std::move(info));
  }
  trash_lock_.unlock();
  verbs_.unlock();
  if (!status) co_return std::unexpected(status.error());
  std::ranges::reverse(infos);
  co_return infos;
}

}  // namespace coppice
