// What the store answers, beside what the model knows: differences, the tree, the space.
#include <algorithm>
#include <fstream>

#include "world.h"

namespace coppice::test {

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
  const std::string sizes = " (" + std::to_string(a.content.size_bytes()) + " and " +
                            std::to_string(b.content.size_bytes()) + " bytes)";
  note(what);
  auto found = run(store().diff(a.spec(), b.spec(), start));
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
    const std::string where = what + sizes + ": block " + std::to_string(block);
    // What the first side has beyond the second one's end is no difference.
    const std::uint64_t length = std::min(kBlockBytes, b.content.size_bytes() - block * kBlockBytes);
    const bool same = std::memcmp(bytes_of(left), bytes_of(right), length) == 0;
    expect(reported[block] || same, where + " differs and is missing");
    // A bookmark does not know what it held: what was written and is zeroes may have been.
    const bool both_zero = a.changes_only && is_zero(right);
    expect(!reported[block] || left != right || both_zero, where + " was never written and is there");
  }
}

void World::diff_bookmark() {
  if (bookmarks_.empty()) return;
  const auto place = std::next(bookmarks_.begin(), static_cast<std::ptrdiff_t>(below(bookmarks_.size())));
  const ModelNode& b = nodes_.at(some_node());
  check_diff(place->second, b);
}

void World::check_tree() {
  note("tree");
  compare_tree();
  const std::string disk = some_disk();
  auto part = run(store().tree(disk));
  require(part, "tree " + disk);
  for (const int node : nodes_of(disk))
    expect(std::ranges::any_of(*part,
                               [&](const NodeInfo& info) {
                                 return info.kind != NodeInfo::Kind::kDeleted &&
                                        Spec{info.disk, info.snapshot} == nodes_.at(node).spec();
                               }),
           "tree " + disk + ": " + nodes_.at(node).spec().text() + " is missing");
}

// All that the store says of its disks and snapshots but what they hold.
void World::compare_tree() {
  auto answer = run(store().tree(std::nullopt));
  require(answer, "tree");
  std::set<std::string> bookmarks;
  std::map<std::uint64_t, const NodeInfo*> by_id;
  std::map<std::string, const NodeInfo*> by_spec;
  for (const NodeInfo& info : *answer) {
    expect(info.parent == 0 || by_id.contains(info.parent),
           "tree: node " + std::to_string(info.id) + " (" + Spec{info.disk, info.snapshot}.text() +
               ") is told before its parent, " + std::to_string(info.parent));
    by_id[info.id] = &info;
    const std::string text = Spec{info.disk, info.snapshot}.text();
    if (info.kind == NodeInfo::Kind::kChanges) bookmarks.insert(text);
    if (info.kind == NodeInfo::Kind::kHead || info.kind == NodeInfo::Kind::kSnapshot) by_spec[text] = &info;
  }
  for (const auto& [id, bookmark] : bookmarks_)
    expect(bookmarks.contains(bookmark.spec().text()), "tree: no bookmark " + bookmark.spec().text());
  expect(bookmarks.size() == bookmarks_.size(), "tree: " + std::to_string(bookmarks.size()) +
                                                    " bookmarks, not " + std::to_string(bookmarks_.size()));
  expect(by_spec.size() == nodes_.size(),
         "tree: " + std::to_string(by_spec.size()) + " nodes, not " + std::to_string(nodes_.size()));
  for (const auto& [id, node] : nodes_) {
    const std::string text = node.spec().text();
    expect(by_spec.contains(text), "tree: " + text + " is missing");
    const NodeInfo* info = by_spec[text];
    compare_node(node, *info);
    const NodeInfo* parent = info->parent == 0 ? nullptr : by_id.at(info->parent);
    while (parent != nullptr &&
           (parent->kind == NodeInfo::Kind::kDeleted || parent->kind == NodeInfo::Kind::kChanges))
      parent = parent->parent == 0 ? nullptr : by_id.at(parent->parent);
    const std::string expected = node.parent == 0 ? "" : nodes_.at(node.parent).spec().text();
    const std::string actual = parent == nullptr ? "" : Spec{parent->disk, parent->snapshot}.text();
    expect(expected == actual, "tree: " + text + " stands on '" + actual + "', not on '" + expected + "'");
  }
  compare_groups(by_spec);
  for (const auto& [disk, model] : disks_) {
    auto rules = run(store().schedule(disk, std::nullopt));
    require(rules, "schedule " + disk);
    expect(rules->rules == model.schedule, "schedule: another one of " + disk);
    compare_attachments(disk, model);
  }
  check_trash();
}

void World::compare_node(const ModelNode& node, const NodeInfo& info) {
  const std::string text = node.spec().text();
  const bool head = node.snapshot.empty();
  const ModelDisk& disk = disks_.at(node.disk);
  expect(info.size_bytes == node.content.size_bytes(), "tree: the size of " + text);
  expect((info.kind == NodeInfo::Kind::kHead) == head, "tree: the kind of " + text);
  expect(!head || node.id == 0 || info.id == node.id, "tree: " + text + " has another head");
  expect(info.policy.strict == (head && disk.strict), "tree: whether " + text + " is strict");
  expect(info.base.has_value() == (node.base != 0), "tree: whether " + text + " stands on a base");
  expect(std::set<std::string>(info.holds.begin(), info.holds.end()) == node.holds,
         "tree: who holds " + text);
  expect(info.expires_unix_ms == node.expires_ms, "tree: when " + text + " expires");
  expect(info.note == node.note, "tree: the note of " + text + " is '" + info.note + "'");
  expect(!head || info.quota.limit_bytes == disk.quota_bytes, "tree: the quota of " + text);
  expect(info.scheduled == (node.scheduled_ms != 0 && disk.schedule.on()),
         "tree: whether a schedule has " + text);
}

// The store's groups are the model's, whatever it calls them.
void World::compare_groups(const std::map<std::string, const NodeInfo*>& by_spec) const {
  std::map<int, std::uint64_t> ids;
  std::map<std::uint64_t, int> groups;
  for (const auto& [id, node] : nodes_) {
    const std::string text = node.spec().text();
    const GroupInfo& info = by_spec.at(text)->group;
    expect((info.id != 0) == (node.group != 0) && info.taken == node.group_taken,
           "tree: with how many " + text + " was taken");
    if (node.group == 0) continue;
    expect(ids.try_emplace(node.group, info.id).first->second == info.id &&
               groups.try_emplace(info.id, node.group).first->second == node.group,
           "tree: " + text + " is in another group");
  }
}

void World::check_group() {
  const int node = some_snapshot();
  if (node == 0) return;
  const ModelNode& asked = nodes_.at(node);
  note("group of " + asked.spec().text());
  auto told = run(store().group(asked.spec()));
  require(told, "group");
  std::vector<Spec> expected;
  for (const auto& [id, other] : nodes_)
    if (id == node || (asked.group != 0 && other.group == asked.group)) expected.push_back(other.spec());
  std::ranges::sort(expected, {}, &Spec::disk);
  expect(told->snapshots == expected, "group: " + std::to_string(told->snapshots.size()) +
                                          " snapshots, not " + std::to_string(expected.size()));
}

// Of the snapshots from one to another, as `rm A..B` takes them.
void World::check_range() {
  const std::string disk = some_disk();
  std::vector<int> line;
  for (int at = nodes_.at(head_of(disk)).parent; at != 0 && nodes_.at(at).disk == disk;
       at = nodes_.at(at).parent)
    line.insert(line.begin(), at);
  if (line.empty()) return;
  const std::size_t first = below(line.size());
  const std::size_t last = first + below(line.size() - first);
  const Spec from = nodes_.at(line[first]).spec();
  const Spec to = nodes_.at(line[last]).spec();
  note("range " + from.text() + " to " + to.text());
  auto found = run(store().range(from, to));
  require(found, "range");
  expect(found->size() == last - first + 1, "range: " + std::to_string(found->size()) + " snapshots");
  for (std::size_t i = first; i <= last; ++i)
    expect((*found)[i - first] == nodes_.at(line[i]).spec(), "range: " + (*found)[i - first].text());
}

// The map says what no message can.
void World::dump_map() {
  auto map = run(store().dump());
  if (map) std::ofstream(dump_path_) << *map;
}

void World::check_store(bool read_data) {
  note(read_data ? "check, with data" : "check");
  if (read_data) devices_.clear();  // it reads no disk that somebody may write
  auto report = run(store().check(read_data));
  require(report, "check");
  if (report->problems.empty()) return;
  dump_map();
  std::string problems;
  for (const std::string& problem : report->problems) problems += "\n  " + problem;
  throw Mismatch("check (the store's map: " + dump_path_ + "): " + problems);
}

// What `du` says a removal frees is what the pool gets back.
void World::check_space() {
  note("space");
  require(run(store().wait_for_reclaim()), "reclaim");
  auto rows = run(store().space(std::nullopt));
  require(rows, "space");
  expect(rows->size() == nodes_.size(), "space: " + std::to_string(rows->size()) + " rows");
  // Blocks that exactly one node sees, by pointer: what is told must lie between those that certainly take
  // space and those that may.
  std::map<const Version*, int> viewers;
  each_node([&](const ModelNode& node) {
    if (node.changes_only) return;
    std::set<const Version*> seen;
    for (std::uint64_t block = 0; block < node.content.blocks(); ++block)
      seen.insert(node.content.block(block).get());
    for (const Version* version : seen) ++viewers[version];
  });
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
  if (trash_.empty()) check_disk_space(*rows);
}

std::uint64_t World::used_bytes() {
  auto pools = run(store().pools());
  require(pools, "pools");
  std::uint64_t used = 0;
  for (const PoolInfo& pool : *pools) used += pool.used_bytes;
  return used;
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
    if (!row.spec.is_snapshot()) charged += run(store().info(row.spec))->quota.charged_bytes.value_or(0);
    all.push_back(row.spec);
    expect(row.disk.has_value() == !row.spec.is_snapshot(), "space: the whole of " + row.spec.text());
    own += row.disk ? row.disk->own_bytes : 0;
    shared += row.disk ? row.disk->shared_bytes : 0;
  }
  auto whole = run(store().space_of(all, false));
  require(whole, "space of all");
  const std::uint64_t used = used_bytes();
  const std::string what = "space: " + std::to_string(used) + " bytes are used, ";
  expect(whole->own_bytes == used && whole->shared_bytes == 0,
         what + std::to_string(whole->own_bytes) + " are seen by all together");
  expect(charged == used, what + std::to_string(charged) + " are charged");
  expect(own <= used && own + shared >= used,
         what + std::to_string(own) + " by one disk alone, " + std::to_string(shared) + " by several");
}

}  // namespace coppice::test
