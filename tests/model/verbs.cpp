// The verbs of the store and their refusals.
#include <algorithm>

#include "world.h"

namespace coppice::test {

void World::create() {
  if (disks_.size() >= kMostDisks) return;
  if (one_in(3)) return create_over();
  const std::string name = new_name("d");
  std::uint64_t size = (16 + below(host_.largest_disk() / kBlockBytes - 16)) * kBlockBytes;
  if (one_in(3)) size -= kSectorBytes * (1 + below(7));
  const DiskPolicy policy{.strict = one_in(3)};
  note("create " + name + " " + std::to_string(size) + (policy.strict ? " strict" : ""));
  change(store().create_disk(name, size, policy), "create " + name,
         [=, this] { disks_[name] = {add_node({0, name, "", Content(size), 0}), policy.strict}; });
  set_quota(name, kMaxDiskBytes);
}

// One that never refuses makes the store count what the disk takes.
void World::set_quota(const std::string& disk, std::uint64_t limit_bytes) {
  change(store().set_quota(disk, limit_bytes), "set a quota of " + disk,
         [=, this] { disks_.at(disk).quota_bytes = limit_bytes; });
}

// The disk may take what it has, and no more. 0: it has nothing.
std::uint64_t World::limit_to_charged(const std::string& disk) {
  (void)device(disk);
  require(run(store().wait_for_reclaim()), "reclaim");
  auto info = run(store().info({disk, ""}));
  require(info, "info " + disk);
  expect(info->quota.charged_bytes.has_value(), disk + " is open, and its charge is not known");
  const std::uint64_t charged = *info->quota.charged_bytes;
  if (charged != 0) set_quota(disk, charged);
  return charged;
}

int World::record_snapshot(const std::string& disk, const std::string& name, const std::string& text) {
  ModelNode& head = nodes_.at(head_of(disk));
  head.parent = add_node({head.parent, disk, name, head.content, head.base});
  nodes_.at(head.parent).note = text;
  head.unflushed.clear();
  return head.parent;
}

// One alone is none.
void World::record_group(const std::vector<int>& nodes) {
  if (nodes.size() < 2) return;
  for (const int id : nodes) {
    nodes_.at(id).group = nodes.front();
    nodes_.at(id).group_taken = nodes.size();
  }
}

void World::snapshot_some() {
  if (nodes_.size() > kMostNodes) return remove();
  const std::string name = new_name("s");
  std::vector<Spec> specs;
  for (const auto& [disk, head] : disks_)
    if (specs.empty() || one_in(3)) specs.push_back({disk, name});
  if (one_in(2)) specs = {{some_disk(), name}};
  note("snapshot @" + name + " of " + std::to_string(specs.size()));
  const std::string text = one_in(2) ? "note of " + name : "";
  change(store().snapshot(specs, {.note = text}), "snapshot " + specs.front().text(), [=, this] {
    std::vector<int> taken;
    for (const Spec& spec : specs) taken.push_back(record_snapshot(spec.disk, spec.snapshot, text));
    record_group(taken);
  });
}

void World::clone() {
  const int from = some_snapshot();
  if (from == 0 || disks_.size() >= kMostDisks) return;
  const std::string name = new_name("c");
  const Spec spec = nodes_.at(from).spec();
  note("clone " + spec.text() + " " + name);
  change(store().clone(spec, name), "clone " + spec.text(), [=, this] {
    const int head = add_node({from, name, "", nodes_.at(from).content, nodes_.at(from).base});
    disks_[name] = {head, disks_.at(spec.disk).strict};
  });
  set_quota(name, kMaxDiskBytes);
}

void World::rename() {
  const int node = one_in(2) ? head_of(some_disk()) : some_node();
  const Spec spec = nodes_.at(node).spec();
  const std::string name = new_name(spec.is_snapshot() ? "t" : "e");
  note("rename " + spec.text() + " " + name);
  if (!spec.is_snapshot() && active_of(spec.disk) != nullptr) {
    require_refused(run(store().rename(spec, name)), ErrorKind::kBusy, "rename of attached " + spec.disk);
    return;
  }
  change(store().rename(spec, name), "rename " + spec.text(), [=, this] {
    if (spec.is_snapshot()) {
      nodes_.at(node).snapshot = name;
      return;
    }
    for (auto* all : {&nodes_, &bookmarks_})
      for (auto& [id, other] : *all)
        if (other.disk == spec.disk) other.disk = name;
    disks_[name] = disks_.at(spec.disk);
    disks_.erase(spec.disk);
    if (devices_.contains(spec.disk)) devices_[name] = std::move(devices_[spec.disk]);
    devices_.erase(spec.disk);
  });
}

void World::resize() {
  const std::string disk = some_disk();
  const std::uint64_t old_size = content_of(disk).size_bytes();
  std::uint64_t size = (128 + below(host_.largest_disk() / kSectorBytes - 128)) * kSectorBytes;
  if (one_in(4)) size = old_size + kSectorBytes;
  if (one_in(4)) size = std::max<std::uint64_t>(64 << 10, old_size - kSectorBytes);
  note("resize " + disk + " " + std::to_string(old_size) + " to " + std::to_string(size));
  const bool tight = one_in(4) && limit_to_charged(disk) != 0;
  require_busy_and_detach(disk, "resize of " + disk, [&] { return store().resize(disk, size); });
  const auto effect = [=, this] {
    ModelNode& head = nodes_.at(head_of(disk));
    Content& content = head.content;
    // What a smaller size cut off must not come back, whatever it is cut at: those blocks are new either way.
    const std::uint64_t old_blocks = content.blocks();
    // The block that the smaller end cuts may be written anew by it, or be left as it is.
    const std::uint64_t smaller = std::min(size, old_size);
    const std::uint64_t cut = smaller / kBlockBytes;
    if (smaller % kBlockBytes != 0) {
      blur(cut, VersionPointer(content.block(cut)));
      head.unflushed.erase(cut);
    }
    content.resize(size);
    if (smaller % kBlockBytes != 0) content.set_block(cut, either_version(content.block(cut)));
    for (std::uint64_t block = old_blocks; block < content.blocks(); ++block)
      content.set_block(block, std::make_shared<Version>(Version{{}, Space::kNone}));
    head.unflushed.erase(head.unflushed.lower_bound(content.blocks()), head.unflushed.end());
  };
  // What grows writes the block in which it ended first, whether or not it comes to more.
  if (size > old_size && old_size % kBlockBytes != 0) {
    Content& content = content_of(disk);
    const std::uint64_t last = old_size / kBlockBytes;
    blur(last, VersionPointer(content.block(last)));
    content.set_block(last, either_version(content.block(last)));
  }
  pending_.effect = effect;
  const auto done = run(store().resize(disk, size));
  pending_ = {};
  // Only what grows needs room: for the block in which it ended.
  const bool refused = tight && size > old_size && !done && done.error().kind == ErrorKind::kNoSpace;
  if (!refused) {
    require(done, "resize " + disk);
    effect();
  }
  if (tight) set_quota(disk, kMaxDiskBytes);
}

void World::set_policy() {
  const std::string disk = some_disk();
  const DiskPolicy policy{.strict = !disks_.at(disk).strict};
  note("set " + disk + (policy.strict ? " strict=on" : " strict=off"));
  require_busy_and_detach(disk, "set of " + disk, [&] { return store().set_policy(disk, policy); });
  change(store().set_policy(disk, policy), "set " + disk, [=, this] {
    disks_.at(disk).strict = policy.strict;
    forget_unflushed(disk);
  });
}

// From here on nobody knows who shares this version of the block.
void World::blur(std::uint64_t block, const VersionPointer& version) {
  if (!version) return;
  const VersionPointer blurred = either_version(version);
  each_node([&](ModelNode& node) {
    if (block < node.content.blocks() && node.content.block(block) == version)
      node.content.set_block(block, blurred);
    const auto open = node.unflushed.find(block);
    if (open != node.unflushed.end()) std::ranges::replace(open->second, version, blurred);
  });
}

void World::remove() {
  const int node = some_snapshot();
  if (node == 0) return;
  const Spec spec = nodes_.at(node).spec();
  note("rm " + spec.text());
  const auto verb = [&] { return store().remove({spec}, false); };
  if (one_in(4)) {
    const auto reader = open(spec, Access::kReadOnly);
    require_refused(run(verb()), ErrorKind::kBusy, "rm of open " + spec.text());
  }
  if (!nodes_.at(node).holds.empty() || cloned_away(node, {node}))
    return require_refused(run(verb()), ErrorKind::kBusy, "rm of held or cloned " + spec.text());
  change(verb(), "rm " + spec.text(), [=, this] { drop_node(node); });
}

void World::remove_disk() {
  if (disks_.size() < 2) return;
  const std::string disk = some_disk();
  const std::vector<int> all = nodes_of(disk);
  const bool with_snapshots = one_in(2);
  note("rm " + disk + (with_snapshots ? " --snapshots --now" : " --now"));
  const auto verb = [&] { return store().remove({{disk, ""}}, with_snapshots); };
  require_busy_and_detach(disk, "rm of " + disk, verb);
  const std::set<int> leaving(all.begin(), all.end());
  const bool needed = std::ranges::any_of(
      all, [&](int node) { return cloned_away(node, leaving) || !nodes_.at(node).holds.empty(); });
  if (needed || (!with_snapshots && all.size() > 1))
    return require_refused(run(verb()), ErrorKind::kBusy, "rm of " + disk);
  change(verb(), "rm " + disk, [=, this] { note_removed(disk); });
}

void World::note_removed(const std::string& disk) {
  for (const int node : nodes_of(disk)) drop_node(node);
  std::erase_if(bookmarks_, [&](const auto& entry) { return entry.second.disk == disk; });
  disks_.erase(disk);
}

// What is foretold of a set is what the pool gets back, to the block, whether it is asked for by `du` or by a
// dry run.
void World::remove_set() {
  std::vector<Spec> specs;
  std::set<int> leaving;
  const std::uint64_t density = 1 + below(4);
  for (const auto& [id, node] : nodes_) {
    if (node.snapshot.empty() || !one_in(density)) continue;
    leaving.insert(id);
    specs.push_back(node.spec());
  }
  if (specs.empty()) return;
  note("rm of " + std::to_string(specs.size()) + " together");
  require(run(store().wait_for_reclaim()), "reclaim");
  auto foretold = run(store().space_of(specs, false));
  require(foretold, "space of a set");
  auto preview = run(store().preview_removal(specs, false, false));
  const bool needed = std::ranges::any_of(
      leaving, [&](int node) { return cloned_away(node, leaving) || !nodes_.at(node).holds.empty(); });
  if (needed) return require_refused(preview, ErrorKind::kBusy, "rm of a held or cloned set");
  require(preview, "dry run");
  expect(preview->frees_bytes == foretold->own_bytes, "space: du and the dry run tell different numbers");
  const std::uint64_t before = used_bytes();
  change(store().remove(specs, false), "rm of a set", [=, this] {
    for (const int node : leaving) drop_node(node);
  });
  require(run(store().wait_for_reclaim()), "reclaim");
  auto left = run(store().reclaim(std::nullopt));
  require(left, "what is left to reclaim");
  expect(left->nodes == 0, std::to_string(left->nodes) + " removed nodes wait for ever");
  const std::uint64_t freed = before - used_bytes();
  if (freed != foretold->own_bytes) dump_map();
  expect(freed == foretold->own_bytes, "rm of " + std::to_string(specs.size()) + " freed " +
                                           std::to_string(freed / kBlockBytes) + " blocks, not " +
                                           std::to_string(foretold->own_bytes / kBlockBytes));
}

// Only what changed is kept of one that nobody cloned. A disk takes its bookmarks along.
void World::keep_changes() {
  if (bookmarks_.size() > 6) {
    const auto place = std::next(bookmarks_.begin(), static_cast<std::ptrdiff_t>(below(bookmarks_.size())));
    const int bookmark = place->first;
    note("rm of bookmark " + place->second.spec().text());
    change(store().remove({place->second.spec()}, false), "rm of a bookmark",
           [=, this] { bookmarks_.erase(bookmark); });
    return;
  }
  const int node = some_snapshot();
  if (node == 0) return;
  const Spec spec = nodes_.at(node).spec();
  note("rm --keep-changes " + spec.text());
  if (!nodes_.at(node).holds.empty() || cloned_away(node, {node})) {
    return require_refused(run(store().keep_changes({spec})), ErrorKind::kBusy,
                           "rm of held or cloned " + spec.text());
  }
  change(store().keep_changes({spec}), "rm --keep-changes " + spec.text(), [=, this] {
    ModelNode bookmark = nodes_.at(node);
    bookmark.changes_only = true;
    drop_node(node);
    bookmarks_[node] = std::move(bookmark);
  });
  require_refused(run(store().open_device(spec, Access::kReadOnly, {"the model"})), ErrorKind::kInvalid,
                  "open");
  require_refused(run(store().clone(spec, new_name("x"))), ErrorKind::kInvalid, "clone of a bookmark");
  require_refused(run(store().rollback({spec}, {})), ErrorKind::kInvalid, "rollback to a bookmark");
  require_refused(run(store().snapshot({spec}, {})), ErrorKind::kExists, "snapshot as a bookmark");
  require_refused(run(store().diff({spec.disk, ""}, spec, 0)), ErrorKind::kInvalid, "diff to a bookmark");
}

// A disk that has what it may have takes nothing more. (Where it has, it may be refused as well: below a
// snapshot that is gone a fork may hold the block for a while.)
void World::quota() {
  const std::string disk = some_disk();
  note("quota of " + disk);
  if (limit_to_charged(disk) == 0) return;
  const Content& content = content_of(disk);
  const std::uint64_t whole = content.size_bytes() / kBlockBytes;
  std::uint64_t hole = 0;
  while (hole < whole && space_of(content.block(hole)) != Space::kNone) ++hole;
  if (hole < whole) {
    const std::vector<std::byte> bytes(kBlockBytes, std::byte{0x5a});
    auto written = run(device(disk).write(hole * kBlockBytes, bytes, {}));
    expect(!written && written.error().kind == ErrorKind::kNoSpace,
           disk + ": a write beyond the quota was not refused");
    std::vector<std::byte> found(kBlockBytes);
    require(run(device(disk).read(hole * kBlockBytes, found)), disk);
    expect(content.first_difference(hole * kBlockBytes, found) == Content::kEqual,
           disk + ": what was refused for its quota was written");
  }
  set_quota(disk, kMaxDiskBytes);
}

void World::reopen() {
  note("close and open again");
  devices_.clear();
  require(host_.close(), "close");
  require(host_.open(), "open");
  for (const auto& [disk, model] : disks_) forget_unflushed(disk);
}

void World::bad_input() {
  note("bad input");
  const std::string disk = some_disk();
  const std::string none = "nothing-of-that-name";
  require_refused(run(store().create_disk(disk, 1 << 20)), ErrorKind::kExists, "create " + disk);
  require_refused(run(store().create_disk("bad/name", 1 << 20)), ErrorKind::kInvalid, "create bad/name");
  require_refused(run(store().create_disk(none, 0)), ErrorKind::kInvalid, "create of size 0");
  require_refused(run(store().create_disk(none, 1000)), ErrorKind::kInvalid, "create of size 1000");
  require_refused(run(store().snapshot({{none, "s"}}, {})), ErrorKind::kNotFound, "snapshot of " + none);
  require_refused(run(store().snapshot({{disk, new_name("x")}, {none, "s"}}, {})), ErrorKind::kNotFound,
                  "group snapshot");
  require_refused(run(store().snapshot({{disk, ""}}, {})), ErrorKind::kInvalid, "snapshot without a name");
  require_refused(run(store().rollback({{disk, none}}, {})), ErrorKind::kNotFound, "rollback to " + none);
  require_refused(run(store().clone({disk, none}, new_name("x"))), ErrorKind::kNotFound, "clone of " + none);
  require_refused(run(store().remove({{none, ""}}, true)), ErrorKind::kNotFound, "rm " + none);
  require_refused(run(store().remove({{disk, none}}, true)), ErrorKind::kNotFound, "rm @" + none);
  require_refused(run(store().resize(none, 1 << 20)), ErrorKind::kNotFound, "resize " + none);
  require_refused(run(store().set_policy(none, {})), ErrorKind::kNotFound, "set " + none);
  require_refused(run(store().rename({none, ""}, "x")), ErrorKind::kNotFound, "rename " + none);
  require_refused(run(store().info({disk, none})), ErrorKind::kNotFound, "info");
  require_refused(run(store().open_device({none, ""}, Access::kReadOnly, {"the model"})),
                  ErrorKind::kNotFound, "open");
  if (const int node = some_snapshot(); node != 0) {
    const Spec spec = nodes_.at(node).spec();
    require_refused(run(store().snapshot({spec}, {})), ErrorKind::kExists, "snapshot " + spec.text());
    require_refused(run(store().clone(spec, disk)), ErrorKind::kExists, "clone to " + disk);
    require_refused(run(store().open_device(spec, Access::kReadWrite, {"the model"})), ErrorKind::kReadOnly,
                    "open");
    const auto reader = open(spec, Access::kReadOnly);
    const std::vector<std::byte> bytes(512);
    expect(!run(reader->write(0, bytes, {})), "a write to a snapshot was not refused");
    expect(!run(reader->discard(0, 512, {})), "a discard on a snapshot was not refused");
    expect(!run(reader->write_zeroes(0, 512, {})), "zeroes on a snapshot were not refused");
  }
  BlockDevice& open_disk = device(disk);
  std::vector<std::byte> bytes(8192);
  expect(!run(open_disk.read(open_disk.size_bytes() - 100, bytes)), "a read beyond the end was not refused");
  expect(!run(open_disk.write(open_disk.size_bytes() - 100, bytes, {})),
         "a write beyond the end was not refused");
  expect(!run(open_disk.write(UINT64_MAX - 100, bytes, {})), "a write at 2^64 was not refused");
  expect(!run(open_disk.discard(0, open_disk.size_bytes() + 1, {})),
         "a discard beyond the end was not refused");
}

}  // namespace coppice::test
