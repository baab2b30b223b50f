// The verbs of the store, their refusals, and the questions.
#include <algorithm>
#include <fstream>

#include "world.h"

namespace coppice::test {

namespace {

constexpr std::size_t kMostNodes = 40;
constexpr std::size_t kMostDisks = 5;
constexpr std::uint64_t kLargestDisk = std::uint64_t{16} << 20;

}  // namespace

// The image that disks stand on: noise with zeroes in it, and an end inside a block.
void World::write_base() {
  base_bytes_ = (std::uint64_t{5} << 20) + 3 * kSectorBytes;
  std::ofstream file(directory_ + "/base.raw", std::ios::binary);
  for (std::uint64_t at = 0; at < base_bytes_; at += kBlockBytes) {
    auto version = std::make_shared<Version>(Version{{}, Space::kBase});
    const std::uint64_t length = std::min(kBlockBytes, base_bytes_ - at);
    if (at / kBlockBytes % 7 != 0) std::ranges::copy(random_bytes(length), version->bytes.begin());
    file.write(reinterpret_cast<const char*>(version->bytes.data()), static_cast<std::streamsize>(length));
    base_.push_back(std::move(version));
  }
}

void World::create_over() {
  const std::string name = new_name("o");
  std::uint64_t size = one_in(2) ? 0 : (128 + below(kLargestDisk / kSectorBytes - 128)) * kSectorBytes;
  const DiskPolicy policy{.strict = one_in(3)};
  note("create " + name + " " + std::to_string(size) + " over the base" + (policy.strict ? " strict" : ""));
  auto made = run(store_->create_disk_over(name, size, policy, {directory_ + "/base.raw", -1}));
  require(made, "create " + name);
  require(run(store_->set_quota(name, kMaxDiskBytes)), "set a quota of " + name);
  if (size == 0) size = round_up(base_bytes_, kSectorBytes);
  expect(*made == size, "create " + name + ": its size");
  note_policy(name, policy.strict);
  Content content(size);
  for (std::uint64_t block = 0; block < std::min<std::uint64_t>(content.blocks(), base_.size()); ++block)
    content.set_block(block, base_[block]);
  heads_[name] = add_node({0, name, "", std::move(content), ++last_base_});
}

Task<void> World::pause() {
  co_await sleep_for(reactor_, std::chrono::microseconds(200));
}

// The base is copied while the disk is written; then nothing of it is left.
void World::flatten() {
  const std::string disk = some_disk();
  const int base = nodes_.at(head_of(disk)).base;
  note("flatten " + disk);
  const auto start = [&] { return run(store_->start_flatten(disk, Store::FlattenPace::kAtOnce)); };
  if (base == 0) return require_refused(start(), ErrorKind::kInvalid, "flatten of " + disk);
  if (std::ranges::count_if(nodes_, [&](const auto& each) { return each.second.base == base; }) > 1)
    return require_refused(start(), ErrorKind::kBusy, "flatten of " + disk);
  require(start(), "flatten " + disk);
  for (int left = 3; left > 0; --left) one_request();
  const bool stops = one_in(4);
  // It may have ended by now.
  if (stops) (void)run(store_->stop_flatten(disk));
  bool done = false;
  while (!done) {
    auto info = run(store_->info({disk, ""}));
    require(info, "info " + disk);
    done = !info->base;
    if (stops) break;
    expect(done || (info->base->flatten && info->base->flatten->running), "flatten " + disk + " ended early");
    run(pause());
  }
  ModelNode& head = nodes_.at(head_of(disk));
  if (done) head.base = 0;
  for (std::uint64_t block = 0; block < head.content.blocks(); ++block) {
    if (space_of(head.content.block(block)) == Space::kBase)
      head.content.set_block(block, either_version(head.content.block(block)));
  }
}

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

// By brute force: each block whose content differs has to be in, none that nobody wrote may be.
void World::diff() {
  const ModelNode& a = nodes_.at(some_node());
  const ModelNode& b = nodes_.at(some_node());
  check_diff(a, b);
}

void World::check_diff(const ModelNode& a, const ModelNode& b) {
  const auto root_of = [this](const ModelNode* node) {
    while (node->parent != 0) node = &nodes_.at(node->parent);
    return node;
  };
  const std::uint64_t start = one_in(2) ? 0 : below(b.content.size_bytes());
  const std::string what =
      "diff " + a.spec().text() + " " + b.spec().text() + " from " + std::to_string(start);
  note(what);
  auto found = run(store_->diff(a.spec(), b.spec(), start));
  // The last common ancestor may have been removed and reclaimed: then there may be an answer or a refusal.
  if (root_of(&a) != root_of(&b) && !found) return require_refused(found, ErrorKind::kUntracked, what);
  require(found, what);
  std::vector<bool> reported(b.content.blocks());
  std::uint64_t end_before = start;
  for (const DiffRange& range : *found) {
    const std::string where =
        what + ": range " + std::to_string(range.offset_bytes) + "+" + std::to_string(range.length_bytes);
    expect(range.length_bytes > 0 && range.offset_bytes >= end_before, where + " is out of order");
    end_before = range.offset_bytes + range.length_bytes;
    expect(end_before <= b.content.size_bytes(), where + " goes beyond the end");
    expect(range.offset_bytes % kBlockBytes == 0 || range.offset_bytes == start,
           where + " starts inside a block");
    for (std::uint64_t block = range.offset_bytes / kBlockBytes; block * kBlockBytes < end_before; ++block) {
      reported[block] = true;
      expect(!range.zero || is_zero(b.content.block(block)), where + " is told to be zero");
    }
  }
  for (std::uint64_t block = start / kBlockBytes; block < b.content.blocks(); ++block) {
    const VersionPointer& left = block < a.content.blocks() ? a.content.block(block) : nullptr;
    const VersionPointer& right = b.content.block(block);
    const std::string where = what + ": block " + std::to_string(block);
    expect(reported[block] || same_bytes(left, right), where + " differs and is missing");
    // A bookmark does not know what it held: what was written and is zeroes may have been.
    const bool both_zero = a.changes_only && is_zero(right);
    expect(!reported[block] || left != right || both_zero, where + " was never written and is there");
  }
}

// Only what changed is kept of one that nobody cloned. A disk takes its bookmarks along.
void World::keep_changes() {
  if (bookmarks_.size() > 6) {
    const auto place = std::next(bookmarks_.begin(), static_cast<std::ptrdiff_t>(below(bookmarks_.size())));
    note("rm of bookmark " + place->second.spec().text());
    require(run(store_->remove({place->second.spec()}, false)), "rm of a bookmark");
    bookmarks_.erase(place);
    return;
  }
  const int node = some_snapshot();
  if (node == 0) return;
  const Spec spec = nodes_.at(node).spec();
  note("rm --keep-changes " + spec.text());
  auto kept = run(store_->keep_changes({spec}));
  if (cloned_away(node, {node}))
    return require_refused(kept, ErrorKind::kBusy, "rm of cloned " + spec.text());
  require(kept, "rm --keep-changes " + spec.text());
  ModelNode bookmark = nodes_.at(node);
  bookmark.changes_only = true;
  drop_node(node);
  bookmarks_[node] = std::move(bookmark);
  require_refused(run(store_->open_device(spec, Access::kReadOnly, {"the model"})), ErrorKind::kInvalid,
                  "open");
  require_refused(run(store_->clone(spec, new_name("x"))), ErrorKind::kInvalid, "clone of a bookmark");
  require_refused(run(store_->rollback(spec, {})), ErrorKind::kInvalid, "rollback to a bookmark");
  require_refused(run(store_->snapshot({spec}, {})), ErrorKind::kExists, "snapshot as a bookmark");
  require_refused(run(store_->diff({spec.disk, ""}, spec, 0)), ErrorKind::kInvalid, "diff to a bookmark");
}

void World::diff_bookmark() {
  if (bookmarks_.empty()) return;
  const auto place = std::next(bookmarks_.begin(), static_cast<std::ptrdiff_t>(below(bookmarks_.size())));
  const ModelNode& b = nodes_.at(some_node());
  check_diff(place->second, b);
}

void World::check_tree() {
  note("tree");
  auto answer = run(store_->tree(std::nullopt));
  require(answer, "tree");
  std::size_t bookmarks = 0;
  std::map<std::uint64_t, const NodeInfo*> by_id;
  std::map<std::string, const NodeInfo*> by_spec;
  for (const NodeInfo& info : *answer) {
    expect(info.parent == 0 || by_id.contains(info.parent), "tree: a node stands before its parent");
    by_id[info.id] = &info;
    if (info.kind == NodeInfo::Kind::kChanges) ++bookmarks;
    if (info.kind == NodeInfo::Kind::kHead || info.kind == NodeInfo::Kind::kSnapshot)
      by_spec[Spec{info.disk, info.snapshot}.text()] = &info;
  }
  expect(bookmarks == bookmarks_.size(), "tree: " + std::to_string(bookmarks) + " bookmarks");
  expect(by_spec.size() == nodes_.size(),
         "tree: " + std::to_string(by_spec.size()) + " nodes, not " + std::to_string(nodes_.size()));
  for (const auto& [id, node] : nodes_) {
    const std::string text = node.spec().text();
    expect(by_spec.contains(text), "tree: " + text + " is missing");
    const NodeInfo* info = by_spec[text];
    expect(info->size_bytes == node.content.size_bytes(), "tree: the size of " + text);
    expect((info->kind == NodeInfo::Kind::kHead) == node.snapshot.empty(), "tree: the kind of " + text);
    expect(info->policy.strict == (node.snapshot.empty() && strict_.contains(node.disk)),
           "tree: whether " + text + " is strict");
    expect(info->base.has_value() == (node.base != 0), "tree: whether " + text + " stands on a base");
    const NodeInfo* parent = info->parent == 0 ? nullptr : by_id.at(info->parent);
    while (parent != nullptr &&
           (parent->kind == NodeInfo::Kind::kDeleted || parent->kind == NodeInfo::Kind::kChanges))
      parent = parent->parent == 0 ? nullptr : by_id.at(parent->parent);
    const std::string expected = node.parent == 0 ? "" : nodes_.at(node.parent).spec().text();
    const std::string actual = parent == nullptr ? "" : Spec{parent->disk, parent->snapshot}.text();
    expect(expected == actual, "tree: " + text + " stands on '" + actual + "', not on '" + expected + "'");
  }
  const std::string disk = some_disk();
  auto part = run(store_->tree(disk));
  require(part, "tree " + disk);
  for (const int node : nodes_of(disk))
    expect(std::ranges::any_of(*part,
                               [&](const NodeInfo& info) {
                                 return info.kind != NodeInfo::Kind::kDeleted &&
                                        Spec{info.disk, info.snapshot} == nodes_.at(node).spec();
                               }),
           "tree " + disk + ": " + nodes_.at(node).spec().text() + " is missing");
}

// The map says what no message can.
void World::dump_map() {
  auto map = run(store_->dump());
  if (map) std::ofstream(directory_ + ".dump") << *map;
}

void World::check_store(bool read_data) {
  note(read_data ? "check, with data" : "check");
  if (read_data) devices_.clear();  // it reads no disk that somebody may write
  auto report = run(store_->check(read_data));
  require(report, "check");
  if (report->problems.empty()) return;
  dump_map();
  std::string problems;
  for (const std::string& problem : report->problems) problems += "\n  " + problem;
  throw Mismatch("check (the store's map: " + directory_ + ".dump): " + problems);
}

// What `du` says a removal frees is what the pool gets back.
void World::check_space() {
  note("space");
  require(run(store_->wait_for_reclaim()), "reclaim");
  auto rows = run(store_->space(std::nullopt));
  require(rows, "space");
  expect(rows->size() == nodes_.size(), "space: " + std::to_string(rows->size()) + " rows");
  // Blocks that exactly one node sees, by pointer: what is told must lie between those that certainly take
  // space and those that may.
  std::map<const Version*, int> viewers;
  for (const auto& [id, node] : nodes_) {
    std::set<const Version*> seen;
    for (std::uint64_t block = 0; block < node.content.blocks(); ++block)
      seen.insert(node.content.block(block).get());
    for (const Version* version : seen) ++viewers[version];
  }
  for (const SpaceInfo& row : *rows) {
    const auto place =
        std::ranges::find_if(nodes_, [&](const auto& each) { return each.second.spec() == row.spec; });
    expect(place != nodes_.end(), "space: " + row.spec.text() + " is not known");
    std::uint64_t least = 0;
    std::uint64_t most = 0;
    std::uint64_t visible = 0;
    std::string blocks;
    for (std::uint64_t block = 0; block < place->second.content.blocks(); ++block) {
      const VersionPointer& version = place->second.content.block(block);
      if (space_of(version) == Space::kNone || space_of(version) == Space::kBase) continue;
      ++visible;
      if (viewers[version.get()] > 1) continue;
      if (++most < 100) blocks += " " + std::to_string(block);
      if (space_of(version) == Space::kTaken) ++least;
    }
    const std::string what = "space of " + row.spec.text() + ": own " +
                             std::to_string(row.own_bytes / kBlockBytes) + " blocks, shared " +
                             std::to_string(row.shared_bytes / kBlockBytes);
    const bool right = row.own_bytes >= least * kBlockBytes && row.own_bytes <= most * kBlockBytes;
    if (!right) dump_map();
    expect(right,
           what + ", not " + std::to_string(least) + " to " + std::to_string(most) + ": blocks" + blocks);
    expect(row.own_bytes + row.shared_bytes <= visible * kBlockBytes, what + ": more than it can see");
  }
  check_disk_space(*rows);
}

// All disks together own what the pool has taken, if each block that several see is counted with all of them.
void World::check_disk_space(const std::vector<SpaceInfo>& rows) {
  std::vector<Spec> all;
  std::uint64_t own = 0;
  std::uint64_t shared = 0;
  std::uint64_t charged = 0;
  for (const SpaceInfo& row : rows) {
    // Counted when it is opened to be written, and by every write since.
    if (!row.spec.is_snapshot()) device(row.spec.disk);
    if (!row.spec.is_snapshot()) charged += run(store_->info(row.spec))->quota.charged_bytes.value_or(0);
    all.push_back(row.spec);
    expect(row.disk.has_value() == !row.spec.is_snapshot(), "space: the whole of " + row.spec.text());
    own += row.disk ? row.disk->own_bytes : 0;
    shared += row.disk ? row.disk->shared_bytes : 0;
  }
  auto whole = run(store_->space_of(all, false));
  require(whole, "space of all");
  const std::uint64_t used = run(store_->pools())->front().used_bytes;
  const std::string what = "space: " + std::to_string(used) + " bytes are used, ";
  expect(whole->own_bytes == used && whole->shared_bytes == 0,
         what + std::to_string(whole->own_bytes) + " are seen by all together");
  expect(charged == used, what + std::to_string(charged) + " are charged");
  expect(own <= used && own + shared >= used,
         what + std::to_string(own) + " by one disk alone, " + std::to_string(shared) + " by several");
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
