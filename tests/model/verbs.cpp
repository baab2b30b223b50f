// The verbs of the store and their refusals.
#include <algorithm>

#include "world.h"

namespace coppice::test {

namespace {

constexpr std::size_t kMostNodes = 40;
constexpr std::size_t kMostDisks = 5;
constexpr std::uint64_t kLargestDisk = std::uint64_t{16} << 20;

}  // namespace

void World::create() {
  if (heads_.size() >= kMostDisks) return;
  if (one_in(3)) return create_over();
  const std::string name = new_name("d");
  std::uint64_t size = (16 + below(kLargestDisk / kBlockBytes - 16)) * kBlockBytes;
  if (one_in(3)) size -= kSectorBytes * (1 + below(7));
  const DiskPolicy policy{.strict = one_in(3)};
  note("create " + name + " " + std::to_string(size) + (policy.strict ? " strict" : ""));
  require(run(store_->create_disk(name, size, policy)), "create " + name);
  require(run(store_->set_quota(name, kMaxDiskBytes)), "set a quota of " + name);
  note_policy(name, policy.strict);
  heads_[name] = add_node({0, name, "", Content(size), 0});
}

Spec World::record_snapshot(const std::string& disk, const std::string& name) {
  ModelNode& head = nodes_.at(head_of(disk));
  head.parent = add_node({head.parent, disk, name, head.content, head.base});
  return {disk, name};
}

void World::snapshot_some() {
  if (nodes_.size() > kMostNodes) return remove();
  const std::string name = new_name("s");
  std::vector<Spec> specs;
  for (const auto& [disk, head] : heads_)
    if (specs.empty() || one_in(3)) specs.push_back({disk, name});
  if (one_in(2)) specs = {{some_disk(), name}};
  note("snapshot @" + name + " of " + std::to_string(specs.size()));
  require(run(store_->snapshot(specs, {.note = "note"})), "snapshot " + specs.front().text());
  for (const Spec& spec : specs) record_snapshot(spec.disk, spec.snapshot);
}

void World::rollback() {
  const int target = some_snapshot();
  if (target == 0) return;
  const std::string disk = nodes_.at(target).disk;
  const Spec to = nodes_.at(target).spec();
  RollbackOptions options;
  options.discard = one_in(3) || nodes_.size() > kMostNodes;
  if (!options.discard && one_in(2)) options.keep_as = new_name("k");
  note("rollback " + to.text() + (options.discard ? " discard" : " keep " + options.keep_as));
  if (devices_.contains(disk)) {
    require_refused(run(store_->rollback(to, options)), ErrorKind::kBusy, "rollback of attached " + disk);
    detach(disk);
  }
  auto kept = run(store_->rollback(to, options));
  require(kept, "rollback " + to.text());
  expect(options.discard == kept->empty(), "rollback " + to.text() + " says it kept '" + *kept + "'");
  expect(options.keep_as.empty() || *kept == options.keep_as, "kept under another name: " + *kept);
  const int old_head = head_of(disk);
  if (options.discard) {
    drop_node(old_head);
  } else {
    nodes_.at(old_head).snapshot = *kept;
  }
  heads_[disk] = add_node({target, disk, "", nodes_.at(target).content, nodes_.at(target).base});
}

void World::clone() {
  const int from = some_snapshot();
  if (from == 0 || heads_.size() >= kMostDisks) return;
  const std::string name = new_name("c");
  const Spec spec = nodes_.at(from).spec();
  note("clone " + spec.text() + " " + name);
  require(run(store_->clone(spec, name)), "clone " + spec.text());
  require(run(store_->set_quota(name, kMaxDiskBytes)), "set a quota of " + name);
  heads_[name] = add_node({from, name, "", nodes_.at(from).content, nodes_.at(from).base});
  note_policy(name, strict_.contains(spec.disk));
}

void World::rename() {
  const int node = one_in(2) ? head_of(some_disk()) : some_node();
  const Spec spec = nodes_.at(node).spec();
  const std::string name = new_name(spec.is_snapshot() ? "t" : "e");
  note("rename " + spec.text() + " " + name);
  require(run(store_->rename(spec, name)), "rename " + spec.text());
  if (spec.is_snapshot()) {
    nodes_.at(node).snapshot = name;
    return;
  }
  for (const int other : nodes_of(spec.disk)) nodes_.at(other).disk = name;
  for (auto& [id, bookmark] : bookmarks_)
    if (bookmark.disk == spec.disk) bookmark.disk = name;
  heads_[name] = node;
  heads_.erase(spec.disk);
  note_policy(name, strict_.contains(spec.disk));
  note_policy(spec.disk, false);
  if (devices_.contains(spec.disk)) devices_[name] = std::move(devices_[spec.disk]);
  devices_.erase(spec.disk);
}

void World::resize() {
  const std::string disk = some_disk();
  Content& content = nodes_.at(head_of(disk)).content;
  std::uint64_t size = (128 + below(kLargestDisk / kSectorBytes - 128)) * kSectorBytes;
  if (one_in(4)) size = content.size_bytes() + kSectorBytes;
  if (one_in(4)) size = std::max<std::uint64_t>(64 << 10, content.size_bytes() - kSectorBytes);
  note("resize " + disk + " " + std::to_string(content.size_bytes()) + " to " + std::to_string(size));
  if (devices_.contains(disk)) {
    require_refused(run(store_->resize(disk, size)), ErrorKind::kBusy, "resize of attached " + disk);
    detach(disk);
  }
  require(run(store_->resize(disk, size)), "resize " + disk);
  // What a smaller size cut off must not come back, whatever it is cut at: those blocks are new either way.
  const std::uint64_t old_blocks = content.blocks();
  // The block that the smaller end cuts may be written anew by it, or be left as it is.
  const std::uint64_t smaller = std::min(size, content.size_bytes());
  if (smaller % kBlockBytes != 0) {
    const std::uint64_t cut = smaller / kBlockBytes;
    blur(cut, VersionPointer(content.block(cut)));
    content.set_block(cut, either_version(content.block(cut)));
  }
  content.resize(size);
  for (std::uint64_t block = old_blocks; block < content.blocks(); ++block)
    content.set_block(block, std::make_shared<Version>(Version{{}, Space::kNone}));
}

void World::set_policy() {
  const std::string disk = some_disk();
  const bool strict = !strict_.contains(disk);
  const DiskPolicy policy{.strict = strict};
  note("set " + disk + (strict ? " strict=on" : " strict=off"));
  if (devices_.contains(disk)) {
    require_refused(run(store_->set_policy(disk, policy)), ErrorKind::kBusy, "set of attached " + disk);
    detach(disk);
  }
  require(run(store_->set_policy(disk, policy)), "set " + disk);
  note_policy(disk, strict);
}

void World::note_policy(const std::string& disk, bool strict) {
  if (strict)
    strict_.insert(disk);
  else
    strict_.erase(disk);
}

// From here on nobody knows who shares this version of the block.
void World::blur(std::uint64_t block, const VersionPointer& version) {
  if (!version) return;
  const VersionPointer blurred = either_version(version);
  for (auto* all : {&nodes_, &bookmarks_})
    for (auto& [id, node] : *all)
      if (block < node.content.blocks() && node.content.block(block) == version)
        node.content.set_block(block, blurred);
}

void World::remove() {
  const int node = some_snapshot();
  if (node == 0) return;
  const Spec spec = nodes_.at(node).spec();
  note("rm " + spec.text());
  if (one_in(4)) {
    const auto reader = open(spec, Access::kReadOnly);
    require_refused(run(store_->remove({spec}, false)), ErrorKind::kBusy, "rm of open " + spec.text());
  }
  auto removed = run(store_->remove({spec}, false));
  if (cloned_away(node, {node}))
    return require_refused(removed, ErrorKind::kBusy, "rm of cloned " + spec.text());
  require(removed, "rm " + spec.text());
  drop_node(node);
}

void World::remove_disk() {
  if (heads_.size() < 2) return;
  const std::string disk = some_disk();
  const std::vector<int> all = nodes_of(disk);
  const bool with_snapshots = one_in(2);
  note("rm " + disk + (with_snapshots ? " --snapshots" : ""));
  if (devices_.contains(disk)) {
    require_refused(run(store_->remove({{disk, ""}}, with_snapshots)), ErrorKind::kBusy,
                    "rm of attached " + disk);
    detach(disk);
  }
  auto removed = run(store_->remove({{disk, ""}}, with_snapshots));
  const std::set<int> leaving(all.begin(), all.end());
  const bool cloned = std::ranges::any_of(all, [&](int node) { return cloned_away(node, leaving); });
  if (cloned || (!with_snapshots && all.size() > 1))
    return require_refused(removed, ErrorKind::kBusy, "rm of " + disk);
  require(removed, "rm " + disk);
  for (const int node : all) drop_node(node);
  std::erase_if(bookmarks_, [&](const auto& entry) { return entry.second.disk == disk; });
  heads_.erase(disk);
  note_policy(disk, false);
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
  require(run(store_->wait_for_reclaim()), "reclaim");
  auto foretold = run(store_->space_of(specs, false));
  require(foretold, "space of a set");
  auto preview = run(store_->preview_removal(specs, false, false));
  const bool cloned = std::ranges::any_of(leaving, [&](int node) { return cloned_away(node, leaving); });
  if (cloned) return require_refused(preview, ErrorKind::kBusy, "rm of a cloned set");
  require(preview, "dry run");
  expect(preview->frees_bytes == foretold->own_bytes, "space: du and the dry run tell different numbers");
  const auto used = [this] { return run(store_->pools())->front().used_bytes; };
  const std::uint64_t before = used();
  require(run(store_->remove(specs, false)), "rm of a set");
  require(run(store_->wait_for_reclaim()), "reclaim");
  const std::uint64_t freed = before - used();
  if (freed != foretold->own_bytes) dump_map();
  expect(freed == foretold->own_bytes, "rm of " + std::to_string(specs.size()) + " freed " +
                                           std::to_string(freed / kBlockBytes) + " blocks, not " +
                                           std::to_string(foretold->own_bytes / kBlockBytes));
  for (const int node : leaving) drop_node(node);
}

void World::reopen() {
  note("close and open again");
  devices_.clear();
  require(run(store_->close()), "close");
  store_.reset();
  auto opened = run(
      open_store(reactor_, {.directory = directory_, .cache_bytes = std::uint64_t{64} << 20, .notice = {}}));
  require(opened, "open");
  store_ = std::move(*opened);
}

void World::bad_input() {
  note("bad input");
  const std::string disk = some_disk();
  const std::string none = "nothing-of-that-name";
  require_refused(run(store_->create_disk(disk, 1 << 20)), ErrorKind::kExists, "create " + disk);
  require_refused(run(store_->create_disk("bad/name", 1 << 20)), ErrorKind::kInvalid, "create bad/name");
  require_refused(run(store_->create_disk(none, 0)), ErrorKind::kInvalid, "create of size 0");
  require_refused(run(store_->create_disk(none, 1000)), ErrorKind::kInvalid, "create of size 1000");
  require_refused(run(store_->snapshot({{none, "s"}}, {})), ErrorKind::kNotFound, "snapshot of " + none);
  require_refused(run(store_->snapshot({{disk, new_name("x")}, {none, "s"}}, {})), ErrorKind::kNotFound,
                  "group snapshot");
  require_refused(run(store_->snapshot({{disk, ""}}, {})), ErrorKind::kInvalid, "snapshot without a name");
  require_refused(run(store_->rollback({disk, none}, {})), ErrorKind::kNotFound, "rollback to " + none);
  require_refused(run(store_->clone({disk, none}, new_name("x"))), ErrorKind::kNotFound, "clone of " + none);
  require_refused(run(store_->remove({{none, ""}}, true)), ErrorKind::kNotFound, "rm " + none);
  require_refused(run(store_->remove({{disk, none}}, true)), ErrorKind::kNotFound, "rm @" + none);
  require_refused(run(store_->resize(none, 1 << 20)), ErrorKind::kNotFound, "resize " + none);
  require_refused(run(store_->set_policy(none, {})), ErrorKind::kNotFound, "set " + none);
  require_refused(run(store_->rename({none, ""}, "x")), ErrorKind::kNotFound, "rename " + none);
  require_refused(run(store_->info({disk, none})), ErrorKind::kNotFound, "info");
  require_refused(run(store_->open_device({none, ""}, Access::kReadOnly, {"the model"})),
                  ErrorKind::kNotFound, "open");
  if (const int node = some_snapshot(); node != 0) {
    const Spec spec = nodes_.at(node).spec();
    require_refused(run(store_->snapshot({spec}, {})), ErrorKind::kExists, "snapshot " + spec.text());
    require_refused(run(store_->clone(spec, disk)), ErrorKind::kExists, "clone to " + disk);
    require_refused(run(store_->open_device(spec, Access::kReadWrite, {"the model"})), ErrorKind::kReadOnly,
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
