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

}  // namespace coppice::test
