#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <random>

#include "layout/keys.h"
#include "map/meta_store.h"

using namespace coppice;

namespace {

class Directory {
 public:
  Directory() {
    char pattern[] = "/tmp/test_map.XXXXXX";
    path = mkdtemp(pattern);
  }
  ~Directory() { std::filesystem::remove_all(path); }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  std::filesystem::path path;
};

std::unique_ptr<MetaStore> rocks(const Directory& directory, bool create) {
  std::string reason;
  auto store = open_rocks_meta_store((directory.path / "db").string(), create, reason);
  INFO(reason);
  REQUIRE(store);
  return std::move(*store);
}

using Rows = std::vector<std::pair<std::string, std::string>>;

Rows all(MetaStore& store, Family family, Reach reach, std::string_view from) {
  Rows rows;
  auto iterator = store.iterate(family, reach);
  for (iterator->seek(from); iterator->valid(); iterator->next()) {
    rows.emplace_back(iterator->key(), iterator->value());
  }
  REQUIRE(iterator->status());
  return rows;
}

std::string leaf_key(std::uint64_t branch, std::uint64_t leaf, std::uint64_t version) {
  return std::string(encode_key(LeafKey{BranchId{branch}, LeafIndex{leaf}, Epoch{version}}));
}

// Nothing: something would have to be read.
std::optional<Rows> in_memory(MetaStore& store, std::string_view from) {
  Rows rows;
  const auto iterator = store.leaves_in_memory();
  for (iterator->seek(from); iterator->valid(); iterator->next())
    rows.emplace_back(iterator->key(), iterator->value());
  if (!iterator->status()) return std::nullopt;
  return rows;
}

void basics(MetaStore& store) {
  MetaBatch batch;
  batch.put(Family::kLeaf, leaf_key(1, 1, 1), "old");
  batch.put(Family::kLeaf, leaf_key(1, 1, 5), "new");
  batch.put(Family::kLeaf, leaf_key(1, 2, 3), "next");
  batch.put(Family::kLeaf, leaf_key(2, 1, 3), "other");
  batch.put(Family::kMeta, "k", "v");
  batch.merge_or(Family::kChange, "c", encode_mask(0x01));
  REQUIRE(store.write(batch, true));

  CHECK(*store.get(Family::kMeta, "k") == "v");
  CHECK(*store.get(Family::kMeta, "c") == std::nullopt);
  // The newest sorts first; a prefix ends where the leaf does.
  const auto prefix = all(store, Family::kLeaf, Reach::kPrefix, leaf_key(1, 1, 9));
  REQUIRE(prefix.size() == 2);
  CHECK(prefix[0].second == "new");
  CHECK(all(store, Family::kLeaf, Reach::kPrefix, leaf_key(1, 1, 4)).size() == 1);
  CHECK(all(store, Family::kLeaf, Reach::kPrefix, leaf_key(1, 7, 4)).empty());
  CHECK(all(store, Family::kLeaf, Reach::kAll, leaf_key(1, 1, 4)).size() == 3);

  auto before = store.iterate(Family::kLeaf, Reach::kAll);
  MetaBatch more;
  more.merge_or(Family::kChange, "c", encode_mask(0x8000000000000100));
  more.merge_or(Family::kChange, "c", encode_mask(0x10));
  more.erase(Family::kMeta, "k");
  more.erase_range(Family::kLeaf, leaf_key(1, 0, ~0ULL), leaf_key(2, 0, ~0ULL));
  REQUIRE(store.write(more, false));
  CHECK(decode_mask(**store.get(Family::kChange, "c")) == 0x8000000000000111);
  CHECK(*store.get(Family::kMeta, "k") == std::nullopt);
  CHECK(all(store, Family::kLeaf, Reach::kAll, "").size() == 1);
  before->seek("");
  CHECK(before->key() == leaf_key(1, 1, 5));
}

}  // namespace

TEST_CASE("both meta stores hold, merge, erase and iterate alike") {
  const Directory directory;
  basics(*make_memory_meta_store());
  basics(*rocks(directory, true));
}

TEST_CASE("what RocksDB was given is there after reopening") {
  const Directory directory;
  basics(*rocks(directory, true));
  const auto store = rocks(directory, false);
  CHECK(decode_mask(**store->get(Family::kChange, "c")) == 0x8000000000000111);
  const auto rows = all(*store, Family::kLeaf, Reach::kAll, "");
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].second == "other");
}

TEST_CASE("RocksDB is read without waiting where it has in memory what is asked for") {
  const Directory directory;
  const std::string key = leaf_key(1, 7, 9);
  const Rows written = {{leaf_key(1, 7, 3), "as it was"}};
  {
    const auto store = rocks(directory, true);
    MetaBatch batch;
    for (std::uint64_t leaf = 0; leaf < 100; ++leaf)
      batch.put(Family::kLeaf, leaf_key(1, leaf, 3), "as it was");
    REQUIRE(store->write(batch, true));
    CHECK(in_memory(*store, key) == written);
  }
  const auto store = rocks(directory, false);
  CHECK(in_memory(*store, key) == std::nullopt);
  CHECK(all(*store, Family::kLeaf, Reach::kPrefix, key) == written);
  CHECK(in_memory(*store, key) == written);
  MetaBatch batch;
  batch.put(Family::kLeaf, leaf_key(1, 7, 4), "changed");
  REQUIRE(store->write(batch, false));
  CHECK(in_memory(*store, key)->size() == 2);
}

// Of the leaves of branch 6, which have to be read, some pass the filter of the table of branch 7 by chance:
// the look-up then goes on in that branch, which is erased.
TEST_CASE("a leaf that has to be read is not taken for one that is not there where a range was erased") {
  constexpr std::uint64_t kLeaves = 3000;
  const Directory directory;
  const auto fill = [&](std::uint64_t branch, bool create) {
    MetaBatch batch;
    for (std::uint64_t leaf = 0; leaf < kLeaves; ++leaf)
      batch.put(Family::kLeaf, leaf_key(branch, leaf, 3), "as it was");
    REQUIRE(rocks(directory, create)->write(batch, true));
  };
  fill(7, true);
  fill(6, false);
  const auto store = rocks(directory, false);
  CHECK(all(*store, Family::kLeaf, Reach::kPrefix, leaf_key(7, 0, 9)).size() == 1);
  MetaBatch batch;
  batch.erase_range(Family::kLeaf, leaf_key(7, 0, ~0ULL), leaf_key(8, 0, ~0ULL));
  REQUIRE(store->write(batch, false));
  for (std::uint64_t leaf = 0; leaf < kLeaves; ++leaf) {
    const auto rows = in_memory(*store, leaf_key(6, leaf, 9));
    if (rows) REQUIRE(rows->size() == 1);
  }
}

TEST_CASE("opening RocksDB says what is wrong") {
  const Directory directory;
  const std::string path = (directory.path / "db").string();
  std::string reason;
  CHECK(open_rocks_meta_store(path, false, reason).error().kind == ErrorKind::kCorrupt);
  CHECK(!reason.empty());
  {
    const auto held = rocks(directory, true);
    reason.clear();
    CHECK(open_rocks_meta_store(path, false, reason).error().kind == ErrorKind::kBusy);
    CHECK(!reason.empty());
  }
  CHECK(!open_rocks_meta_store(path, true, reason));
  std::ofstream(path + "/CURRENT") << "nonsense\n";
  CHECK(open_rocks_meta_store(path, false, reason).error().kind == ErrorKind::kCorrupt);
}

TEST_CASE("a random history reads alike from both meta stores, flushed files included") {
  const Directory directory;
  auto disk = rocks(directory, true);
  const auto memory = make_memory_meta_store();
  std::mt19937_64 random(7);
  // Of those that are there; the oldest is dropped, the next one made, whose ids are new.
  std::uint64_t oldest = 1;
  constexpr std::uint64_t kBranches = 4;
  const auto any_key = [&] { return leaf_key(oldest + random() % kBranches, random() % 50, random() % 20); };
  unsigned answered = 0;
  unsigned unanswered = 0;
  for (int round = 0; round < 60; ++round) {
    MetaBatch batch;
    for (int i = 0; i < 200; ++i) {
      const auto key = any_key();
      const auto change =
          encode_key(ChangeKey{BranchId{random() % 4}, Epoch{random() % 9}, LeafIndex{random() % 40}});
      switch (random() % 4) {
        case 0:
          batch.erase(Family::kLeaf, key);
          break;
        case 1:
          batch.merge_or(Family::kChange, change, encode_mask(1ULL << (random() % 64)));
          break;
        default:
          batch.put(Family::kLeaf, key, std::to_string(random()));
          break;
      }
    }
    if (random() % 8 == 0) {
      batch.erase_range(Family::kLeaf, leaf_key(oldest, 0, ~0ULL), leaf_key(oldest + 1, 0, ~0ULL));
      ++oldest;
    }
    REQUIRE(disk->write(batch, round % 7 == 0));
    REQUIRE(memory->write(batch, false));
    if (round % 10 == 9) {
      disk.reset();
      disk = rocks(directory, false);
    }
    for (int i = 0; i < 50; ++i) {
      const auto from = any_key();
      const auto rows = in_memory(*disk, from);
      if (rows) CHECK(*rows == all(*memory, Family::kLeaf, Reach::kPrefix, from));
      ++(rows ? answered : unanswered);
    }
    for (const auto family : {Family::kLeaf, Family::kChange}) {
      CHECK(all(*disk, family, Reach::kAll, "") == all(*memory, family, Reach::kAll, ""));
    }
    for (int i = 0; i < 50; ++i) {
      const auto from = any_key();
      CHECK(all(*disk, Family::kLeaf, Reach::kPrefix, from) ==
            all(*memory, Family::kLeaf, Reach::kPrefix, from));
    }
  }
  CHECK(answered > 1000);
  CHECK(unanswered > 100);
}
