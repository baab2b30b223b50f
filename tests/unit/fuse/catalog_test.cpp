#include "fuse/catalog.h"

#include <algorithm>
#include <catch2/catch.hpp>

using namespace coppice;
using namespace coppice::fuse;
using Kind = Inode::Kind;

namespace {

constexpr std::int64_t kNoon = 1795341600000;  // 2026-11-22T10:00:00Z

NodeInfo node(std::uint64_t id, const std::string& disk, const std::string& snapshot, std::int64_t created) {
  NodeInfo info;
  info.id = id;
  info.kind = snapshot.empty() ? NodeInfo::Kind::kHead : NodeInfo::Kind::kSnapshot;
  info.disk = disk;
  info.snapshot = snapshot;
  info.created_unix_ms = created;
  return info;
}

std::vector<NodeInfo> nodes() {
  NodeInfo deleted = node(5, "web", "", kNoon);
  deleted.kind = NodeInfo::Kind::kDeleted;
  return {node(3, "web", "one", kNoon), deleted, node(4, "web", "two", kNoon + 5000),
          node(1, "web", "", kNoon - 1000), node(2, "db", "", kNoon + 9000)};
}

std::vector<std::string> names_in(const Catalog& catalog, const Inode& directory) {
  std::vector<std::string> names;
  const auto entries = catalog.list(directory);
  REQUIRE(entries.has_value());
  for (const DirectoryEntry& entry : *entries) names.push_back(entry.name);
  std::ranges::sort(names);
  return names;
}

}  // namespace

TEST_CASE("what is listed is found, and stands for the same") {
  NameTable names;
  const Catalog catalog(nodes(), names);
  std::vector<Inode> open{{Kind::kRoot}};
  std::size_t seen = 0;
  while (!open.empty()) {
    const Inode directory = open.back();
    open.pop_back();
    const auto entries = catalog.list(directory);
    REQUIRE(entries.has_value());
    for (const DirectoryEntry& entry : *entries) {
      ++seen;
      CHECK(catalog.lookup(directory, entry.name) == entry.inode);
      CHECK(catalog.has(entry.inode));
      if (entry.inode.is_directory()) open.push_back(entry.inode);
    }
    CHECK_FALSE(catalog.lookup(directory, "nothing").has_value());
  }
  CHECK(seen == 3 + 2 + 2 + 2 + 2 + 2);
}

TEST_CASE("the names of the tree") {
  NameTable names;
  const Catalog catalog(nodes(), names);
  CHECK(names_in(catalog, {Kind::kRoot}) == std::vector<std::string>{"by-time", "disks", "snapshots"});
  CHECK(names_in(catalog, {Kind::kDisks}) == std::vector<std::string>{"db", "web"});
  const Inode web = *catalog.lookup({Kind::kSnapshots}, "web");
  CHECK(names_in(catalog, web) == std::vector<std::string>{"one", "two"});
  const Inode times = *catalog.lookup({Kind::kByTime}, "web");
  CHECK(names_in(catalog, times) ==
        std::vector<std::string>{"2026-11-22T10:00:00Z-one", "2026-11-22T10:00:05Z-two"});
  CHECK(catalog.link_target(*catalog.lookup(times, "2026-11-22T10:00:05Z-two")) == "../../snapshots/web/two");
  CHECK_FALSE(catalog.lookup(times, "2026-11-22T10:00:00Z-two").has_value());
  CHECK_FALSE(catalog.lookup(web, "2026-11-22T10:00:05Z-two").has_value());
  CHECK(names_in(catalog, *catalog.lookup({Kind::kSnapshots}, "db")).empty());
}

TEST_CASE("files are nodes, whatever they are called") {
  NameTable names;
  Catalog catalog(nodes(), names);
  const Inode disk = *catalog.lookup({Kind::kDisks}, "web");
  CHECK(disk == Inode{Kind::kFile, 1});
  const Inode web = *catalog.lookup({Kind::kSnapshots}, "web");
  auto renamed = nodes();
  for (NodeInfo& each : renamed) each.disk = each.disk == "web" ? "www" : each.disk;
  catalog = Catalog(std::move(renamed), names);
  CHECK(catalog.lookup({Kind::kDisks}, "www") == disk);
  CHECK(spec_of(*catalog.node(disk.id)) == Spec{"www", ""});
  CHECK_FALSE(catalog.has(web));
  CHECK_FALSE(catalog.list(web).has_value());
}

TEST_CASE("what is gone is not there") {
  NameTable names;
  const Catalog catalog({node(2, "db", "", kNoon)}, names);
  CHECK(catalog.node(1) == nullptr);
  CHECK(catalog.node(5) == nullptr);
  CHECK_FALSE(catalog.has({Kind::kFile, 1}));
  CHECK_FALSE(catalog.has({Kind::kLink, 2}));  // a disk has none
  CHECK_FALSE(catalog.list({Kind::kFile, 2}).has_value());
}

TEST_CASE("directories have the time of the last that was made in them") {
  NameTable names;
  const Catalog catalog(nodes(), names);
  CHECK(catalog.summary({Kind::kRoot}).directories == 3);
  CHECK(catalog.summary({Kind::kRoot}).newest_unix_ms == kNoon + 9000);
  CHECK(catalog.summary({Kind::kDisks}).directories == 0);
  CHECK(catalog.summary({Kind::kSnapshots}).directories == 2);
  CHECK(catalog.summary(*catalog.lookup({Kind::kSnapshots}, "web")).newest_unix_ms == kNoon + 5000);
  CHECK(catalog.files() == 4);
}
