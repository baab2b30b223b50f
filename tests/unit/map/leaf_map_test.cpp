#include "map/leaf_map.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <vector>

#include "coppice/reactor.h"
#include "hand_scheduler.h"
#include "layout/keys.h"
#include "map/meta_store.h"

using namespace coppice;
using namespace coppice::test;

namespace {

// Beyond all that a test writes: its rounds collect everything.
constexpr Epoch kNoEpochYet{1'000'000};

class Parents final : public BranchParents {
 public:
  [[nodiscard]] Parent parent_of(BranchId branch) const override {
    if (branch.value <= 1) return {};
    return {BranchId{branch.value - 1}, Epoch{10 * (branch.value - 1)}};  // a line of forks
  }
};

class Failing final : public MetaIterator {
 public:
  void seek(std::string_view) override {}
  void next() override {}
  [[nodiscard]] bool valid() const override { return false; }
  [[nodiscard]] std::string_view key() const override { return {}; }
  [[nodiscard]] std::string_view value() const override { return {}; }
  Result<> status() override { return fail(ErrorKind::kIo, 5, "told to fail"); }
};

// Counts, and fails when told to.
class Watched final : public MetaStore {
 public:
  Result<std::optional<std::string>> get(Family family, std::string_view key) override {
    return store_->get(family, key);
  }
  Result<> write(const MetaBatch& batch, bool sync) override { return store_->write(batch, sync); }
  std::unique_ptr<MetaIterator> iterate(Family family, Reach reach) override {
    ++iterators;
    held.wait(true);
    if (failing) return std::make_unique<Failing>();
    return store_->iterate(family, reach);
  }
  std::unique_ptr<MetaIterator> leaves_in_memory() override {
    if (in_memory == InMemory::kUnknown) return nullptr;
    ++looks_in_memory;
    if (in_memory == InMemory::kNothing) return std::make_unique<Failing>();
    return store_->iterate(Family::kLeaf, Reach::kPrefix);
  }
  enum class InMemory { kUnknown, kNothing, kAll };
  InMemory in_memory = InMemory::kUnknown;
  unsigned looks_in_memory = 0;
  unsigned iterators = 0;
  bool failing = false;
  std::atomic<bool> held = false;  // iterate() waits

 private:
  std::unique_ptr<MetaStore> store_ = make_memory_meta_store();
};

struct Fixture {
  explicit Fixture(std::size_t limit_bytes = std::size_t{1} << 20) {
    reactor = std::move(*Reactor::create());
    map = std::make_unique<LeafMap>(*reactor, meta, parents, limit_bytes);
  }
  CachedLeaf* load(View view, LeafIndex leaf) {
    auto loaded = reactor->run(map->load(view, leaf));
    REQUIRE(loaded);
    return *loaded;
  }
  void write(View at, LeafIndex leaf, unsigned block, std::uint64_t physical) {
    CachedLeaf* from = load(at, leaf);
    map->edit(from, at.epoch, std::uint64_t{1} << block)
        ->leaf.map(block, 1, PhysicalBlock{physical}, at.epoch);
    map->unpin(from);
  }
  std::uint64_t read(View at, LeafIndex leaf, unsigned block) {
    CachedLeaf* entry = load(at, leaf);
    const std::uint64_t physical = entry->leaf.run_at(block).physical.value;
    map->unpin(entry);
    return physical;
  }
  void checkpoint() {
    map->begin_collect(kNoEpochYet);
    for (MetaBatch batch; map->collect_dirty(batch, 4096); batch = {}) {
      REQUIRE(meta.write(batch, false));
      map->collected_written();
    }
    MetaBatch last;
    map->collect_deleted(last);
    REQUIRE(meta.write(last, true));
    map->collected_written();
  }
  Parents parents;
  Watched meta;
  std::unique_ptr<Reactor> reactor;
  std::unique_ptr<LeafMap> map;
};

constexpr BranchId kRoot{1};
constexpr LeafIndex kLeaf{7};

}  // namespace

TEST_CASE("versions answer for their epochs, from memory and from the store") {
  Fixture fixture;
  fixture.write({kRoot, Epoch{3}}, kLeaf, 0, 30);
  fixture.write({kRoot, Epoch{5}}, kLeaf, 1, 50);
  const auto check = [&] {
    CHECK(fixture.read({kRoot, Epoch{2}}, kLeaf, 0) == 0);
    CHECK(fixture.read({kRoot, Epoch{4}}, kLeaf, 0) == 30);
    CHECK(fixture.read({kRoot, Epoch{4}}, kLeaf, 1) == 0);
    CHECK(fixture.read({kRoot, Epoch{5}}, kLeaf, 0) == 30);
    CHECK(fixture.read({kRoot, Epoch{9}}, kLeaf, 1) == 50);
    CHECK(fixture.read({BranchId{2}, Epoch{99}}, kLeaf, 1) == 50);
  };
  check();
  fixture.checkpoint();
  CHECK(fixture.map->dirty_bytes() == 0);
  check();
  fixture.map = std::make_unique<LeafMap>(*fixture.reactor, fixture.meta, fixture.parents, 1);
  check();
  check();
}

TEST_CASE("a resident leaf costs no visit to the store") {
  Fixture fixture;
  fixture.write({kRoot, Epoch{3}}, kLeaf, 0, 30);
  fixture.checkpoint();
  const unsigned before = fixture.meta.iterators;
  for (std::uint64_t epoch = 3; epoch < 50; ++epoch) {
    CachedLeaf* hit = fixture.map->find({kRoot, Epoch{epoch}}, kLeaf);
    REQUIRE(hit != nullptr);
    fixture.map->unpin(hit);
  }
  CHECK(fixture.meta.iterators == before);
  CHECK(fixture.map->find({kRoot, Epoch{3}}, LeafIndex{8}) == nullptr);
}

TEST_CASE("edit of the same epoch changes the version, of a later one makes another") {
  Fixture fixture;
  fixture.write({kRoot, Epoch{3}}, kLeaf, 0, 30);
  CachedLeaf* held = fixture.load({kRoot, Epoch{3}}, kLeaf);
  CHECK(fixture.map->edit(held, Epoch{3}, 2) == held);
  CachedLeaf* later = fixture.map->edit(held, Epoch{4}, 4);
  REQUIRE(later != held);
  later->leaf.map(2, 1, PhysicalBlock{40}, Epoch{4});
  // A second writer that still holds the older one gets the version of the first.
  CHECK(fixture.map->edit(held, Epoch{4}, 8) == later);
  CHECK(held->leaf.run_at(2).kind == LeafRun::Kind::kHole);
  fixture.map->unpin(held);
  auto changed =
      fixture.reactor->run(fixture.map->changes(kRoot, Epoch{3}, Epoch{4}, {}, LeafIndex{100}, 10));
  REQUIRE(changed->size() == 1);
  CHECK(changed->front().mask == 12);
}

TEST_CASE("a version that another writer made stays while an older one is held") {
  Fixture fixture(1);
  fixture.write({kRoot, Epoch{3}}, kLeaf, 0, 30);
  fixture.checkpoint();
  CachedLeaf* held = fixture.load({kRoot, Epoch{4}}, kLeaf);
  fixture.write({kRoot, Epoch{4}}, kLeaf, 1, 40);
  fixture.checkpoint();
  // Presses on the memory.
  for (std::uint64_t leaf = 100; leaf < 400; ++leaf) fixture.read({kRoot, Epoch{4}}, LeafIndex{leaf}, 0);
  CachedLeaf* version = fixture.map->edit(held, Epoch{4}, 1);
  CHECK(version->leaf.run_at(1).physical.value == 40);
  fixture.map->unpin(held);
}

TEST_CASE("change masks add up over checkpoints") {
  Fixture fixture;
  for (unsigned block = 0; block < 5; ++block) {
    fixture.write({kRoot, Epoch{3}}, kLeaf, block, 30 + block);
    fixture.checkpoint();
  }
  fixture.write({kRoot, Epoch{3}}, kLeaf, 9, 39);
  fixture.write({kRoot, Epoch{8}}, LeafIndex{9000}, 63, 80);
  auto& map = *fixture.map;
  auto changed = fixture.reactor->run(map.changes(kRoot, {}, Epoch{8}, {}, LeafIndex{10000}, 10));
  REQUIRE(changed->size() == 2);
  CHECK(changed->at(0).mask == (0x1f | 0x200));
  CHECK(changed->at(1).leaf == LeafIndex{9000});
  CHECK(changed->at(1).mask == std::uint64_t{1} << 63);
  auto limited = fixture.reactor->run(map.changes(kRoot, {}, Epoch{8}, {}, LeafIndex{10000}, 1));
  CHECK(limited->size() == 1);
}

TEST_CASE("a deleted version stays deleted while its batch is on the way, its changes remain") {
  Fixture fixture(1);
  fixture.write({kRoot, Epoch{3}}, kLeaf, 0, 30);
  fixture.write({kRoot, Epoch{5}}, kLeaf, 0, 50);
  fixture.checkpoint();
  const auto all = ~std::uint64_t{0};
  REQUIRE(fixture.reactor->run(fixture.map->punch_version({kRoot, kLeaf, Epoch{5}}, all)));
  CHECK(fixture.read({kRoot, Epoch{6}}, kLeaf, 0) == 30);
  MetaBatch batch;
  fixture.map->begin_collect(kNoEpochYet);
  CHECK(!fixture.map->collect_dirty(batch, 4096));
  CHECK(batch.empty());  // deletions come last, with the new start of redo
  fixture.map->collect_deleted(batch);
  CHECK(!batch.empty());
  CHECK(fixture.read({kRoot, Epoch{7}}, kLeaf, 0) == 30);
  auto found = fixture.reactor->run(fixture.map->scan({kRoot, Epoch{9}}, {}, LeafIndex{100}, 10));
  REQUIRE(found->size() == 1);
  CHECK(found->front().origin_version == Epoch{3});
  REQUIRE(fixture.meta.write(batch, false));
  fixture.map->collected_written();
  CHECK(fixture.read({kRoot, Epoch{8}}, kLeaf, 0) == 30);
  auto changed =
      fixture.reactor->run(fixture.map->changes(kRoot, Epoch{4}, Epoch{5}, {}, LeafIndex{100}, 10));
  CHECK(changed->size() == 1);
}

TEST_CASE("what a version changed is written although it was deleted since the round began") {
  Fixture fixture;
  fixture.write({kRoot, Epoch{3}}, kLeaf, 4, 30);
  fixture.write({kRoot, Epoch{5}}, kLeaf, 0, 50);
  fixture.map->begin_collect(kNoEpochYet);
  fixture.map->erase_version({kRoot, kLeaf, Epoch{3}});
  for (MetaBatch batch; fixture.map->collect_dirty(batch, 4096); batch = {}) {
    REQUIRE(fixture.meta.write(batch, false));
    fixture.map->collected_written();
  }
  MetaBatch last;
  fixture.map->collect_deleted(last);
  REQUIRE(fixture.meta.write(last, true));
  fixture.map->collected_written();
  // What the next process finds, before it has redone the deletion.
  LeafMap next(*fixture.reactor, fixture.meta, fixture.parents, std::size_t{1} << 20);
  for (LeafMap* map : {fixture.map.get(), &next}) {
    auto changed = fixture.reactor->run(map->changes(kRoot, Epoch{2}, Epoch{4}, {}, LeafIndex{100}, 10));
    REQUIRE(changed->size() == 1);
    CHECK(changed->front().mask == 1 << 4);
  }
}

// A read that began before the version's first batch was written ends while its second one is on the way.
TEST_CASE("what a deleted version changed is known while its batch is on the way, whichever read ends") {
  Fixture fixture;
  fixture.write({kRoot, Epoch{3}}, kLeaf, 4, 30);
  fixture.map->begin_collect(kNoEpochYet);
  MetaBatch first;
  REQUIRE(fixture.map->collect_dirty(first, 4096));
  fixture.meta.held = true;
  const auto elsewhere = [](LeafMap& map) -> Task<void> {
    (void)co_await map.changes(kRoot, Epoch{0}, Epoch{1}, {}, LeafIndex{1}, 10);
  };
  spawn(elsewhere(*fixture.map));
  REQUIRE(fixture.meta.write(first, false));
  fixture.map->collected_written();
  REQUIRE(!fixture.map->collect_dirty(first, 4096));

  fixture.write({kRoot, Epoch{3}}, kLeaf, 5, 31);
  fixture.write({kRoot, Epoch{5}}, kLeaf, 0, 50);
  fixture.map->erase_version({kRoot, kLeaf, Epoch{3}});
  fixture.map->begin_collect(kNoEpochYet);
  MetaBatch second;
  REQUIRE(fixture.map->collect_dirty(second, 4096));
  fixture.meta.held = false;
  fixture.meta.held.notify_all();
  auto changed =
      fixture.reactor->run(fixture.map->changes(kRoot, Epoch{2}, Epoch{3}, {}, LeafIndex{100}, 10));
  REQUIRE(changed->size() == 1);
  CHECK(changed->front().mask == (1 << 4 | 1 << 5));
  REQUIRE(fixture.meta.write(second, false));
  fixture.map->collected_written();
  fixture.checkpoint();
  CHECK(fixture.map->dirty_bytes() == 0);
}

TEST_CASE("memory stays near the limit, what is dirty stays whatever the limit") {
  constexpr std::size_t kLimit = std::size_t{256} << 10;
  Fixture fixture(kLimit);
  for (std::uint64_t leaf = 0; leaf < 5000; ++leaf) {
    fixture.write({kRoot, Epoch{3}}, LeafIndex{leaf}, 0, 1000 + leaf);
  }
  CHECK(fixture.map->dirty_bytes() > 2 * kLimit);
  for (std::uint64_t leaf = 0; leaf < 5000; leaf += 97) {
    CachedLeaf* hit = fixture.map->find({kRoot, Epoch{3}}, LeafIndex{leaf});
    REQUIRE(hit != nullptr);
    fixture.map->unpin(hit);
  }
  fixture.checkpoint();
  for (std::uint64_t leaf = 0; leaf < 5000; ++leaf) {
    REQUIRE(fixture.read({kRoot, Epoch{3}}, LeafIndex{leaf}, 0) == 1000 + leaf);
  }
  CHECK(fixture.map->resident_bytes() < kLimit + kLimit / 4);
  CHECK(fixture.map->dirty_bytes() == 0);
}

// Snapshots under load would otherwise make the round longer for as long as it lasts, and the ring run full.
TEST_CASE("a round of collecting leaves versions of epochs that began behind it to the next one") {
  Fixture fixture;
  fixture.write({kRoot, Epoch{3}}, kLeaf, 0, 30);
  fixture.write({kRoot, Epoch{3}}, LeafIndex{100'000}, 0, 31);
  fixture.map->begin_collect(Epoch{4});
  fixture.write({kRoot, Epoch{4}}, kLeaf, 0, 40);
  fixture.write({kRoot, Epoch{5}}, LeafIndex{100'000}, 0, 51);
  fixture.write({kRoot, Epoch{5}}, LeafIndex{200'000}, 0, 52);
  for (MetaBatch batch; fixture.map->collect_dirty(batch, 1); batch = {}) {
    REQUIRE(fixture.meta.write(batch, false));
    fixture.map->collected_written();
  }
  CHECK(fixture.map->dirty_bytes() > 0);
  const auto stored = [&](LeafIndex leaf) {
    LeafMap next(*fixture.reactor, fixture.meta, fixture.parents, std::size_t{1} << 20);
    CachedLeaf* entry = *fixture.reactor->run(next.load({kRoot, Epoch{9}}, leaf));
    const std::uint64_t physical = entry->leaf.run_at(0).physical.value;
    next.unpin(entry);
    return physical;
  };
  CHECK(stored(kLeaf) == 30);
  CHECK(stored(LeafIndex{100'000}) == 31);
  fixture.checkpoint();
  CHECK(stored(kLeaf) == 40);
  CHECK(stored(LeafIndex{100'000}) == 51);
  CHECK(stored(LeafIndex{200'000}) == 52);
  CHECK(fixture.map->dirty_bytes() == 0);
}

TEST_CASE("a version is collected behind what was made from it") {
  Fixture fixture;
  fixture.write({kRoot, Epoch{3}}, kLeaf, 0, 30);
  fixture.write({kRoot, Epoch{5}}, kLeaf, 1, 50);
  fixture.write({kRoot.next(), Epoch{12}}, kLeaf, 2, 120);
  fixture.map->begin_collect(kNoEpochYet);
  std::vector<std::string> keys;
  for (MetaBatch batch; fixture.map->collect_dirty(batch, 1); batch = {}) {
    for (const auto& operation : batch)
      if (operation.family == Family::kLeaf) keys.emplace_back(operation.key);
    REQUIRE(fixture.meta.write(batch, false));
    fixture.map->collected_written();
  }
  REQUIRE(keys.size() == 3);
  CHECK(decode_leaf_key(keys[0])->branch == kRoot.next());
  CHECK(decode_leaf_key(keys[1])->version == Epoch{5});
  CHECK(decode_leaf_key(keys[2])->version == Epoch{3});
}

TEST_CASE("what is punched in the middle of a round goes with it as it was, and punched with the next one") {
  const bool stored_before = GENERATE(false, true);
  Fixture fixture;
  fixture.write({kRoot, Epoch{3}}, kLeaf, 0, 30);
  fixture.write({kRoot, Epoch{3}}, kLeaf, 1, 31);
  if (stored_before) fixture.checkpoint();
  fixture.write({kRoot.next(), Epoch{12}}, LeafIndex{70'000}, 2, 120);
  fixture.map->begin_collect(kNoEpochYet);
  MetaBatch batch;
  REQUIRE(fixture.map->collect_dirty(batch, 1));
  REQUIRE(fixture.reactor->run(fixture.map->punch_version({kRoot, kLeaf, Epoch{3}}, 1)));
  REQUIRE(fixture.reactor->run(fixture.map->punch_version({kRoot, kLeaf, Epoch{3}}, 4)));
  const auto write = [&] {
    REQUIRE(fixture.meta.write(batch, false));
    fixture.map->collected_written();
    batch.clear();
  };
  write();
  while (fixture.map->collect_dirty(batch, 1)) write();
  const auto stored = [&](unsigned block) {
    LeafMap next(*fixture.reactor, fixture.meta, fixture.parents, std::size_t{1} << 20);
    CachedLeaf* entry = *fixture.reactor->run(next.load({kRoot, Epoch{4}}, kLeaf));
    const std::uint64_t physical = entry->leaf.run_at(block).physical.value;
    next.unpin(entry);
    return physical;
  };
  CHECK(stored(0) == 30);
  CHECK(stored(1) == 31);
  CHECK(fixture.read({kRoot, Epoch{4}}, kLeaf, 0) == 0);
  auto changed = fixture.reactor->run(fixture.map->changes(kRoot, Epoch{2}, Epoch{4}, {}, kLeaf.next(), 10));
  REQUIRE(changed->size() == 1);
  CHECK(changed->front().mask == 3);
  CHECK(fixture.map->dirty_bytes() > 0);
  fixture.checkpoint();
  CHECK(stored(0) == 0);
  CHECK(stored(1) == 31);
  CHECK(fixture.map->dirty_bytes() == 0);
}

TEST_CASE("a round of collecting ends although writers go on") {
  Fixture fixture;
  for (std::uint64_t leaf = 0; leaf < 100; ++leaf)
    fixture.write({kRoot, Epoch{3}}, LeafIndex{leaf * 5000}, 0, 7);
  fixture.map->begin_collect(kNoEpochYet);
  unsigned batches = 0;
  for (MetaBatch batch; fixture.map->collect_dirty(batch, 300); batch = {}) {
    REQUIRE(++batches < 200);
    REQUIRE(fixture.meta.write(batch, false));
    fixture.map->collected_written();
    fixture.write({kRoot, Epoch{3}}, LeafIndex{0}, batches % 64, 8);
  }
  CHECK(batches > 5);
  CHECK(fixture.map->dirty_bytes() > 0);
  fixture.checkpoint();
  CHECK(fixture.map->dirty_bytes() == 0);
}

TEST_CASE("a dropped branch is gone from the store, its neighbours are not") {
  Fixture fixture;
  fixture.write({kRoot, Epoch{3}}, kLeaf, 0, 30);
  fixture.write({BranchId{2}, Epoch{13}}, kLeaf, 0, 130);
  fixture.checkpoint();
  fixture.write({BranchId{2}, Epoch{14}}, kLeaf, 0, 140);
  fixture.map->drop_branch(BranchId{2});
  fixture.checkpoint();
  for (const auto family : {Family::kLeaf, Family::kChange}) {
    auto iterator = fixture.meta.iterate(family, Reach::kAll);
    iterator->seek("");
    REQUIRE(iterator->valid());
    iterator->next();
    CHECK(!iterator->valid());
  }
  CHECK(fixture.read({kRoot, Epoch{3}}, kLeaf, 0) == 30);
}

TEST_CASE("many who want one leaf make one visit") {
  Watched meta;
  const Parents parents;
  HandScheduler scheduler(1);
  LeafMap map(scheduler, meta, parents, 1 << 20);
  unsigned done = 0;
  const auto want = [](LeafMap& from, unsigned& count) -> Task<void> {
    auto loaded = co_await from.load({BranchId{3}, Epoch{25}}, LeafIndex{1});
    if (!loaded) co_return;
    ++count;
    from.unpin(*loaded);
  };
  for (int i = 0; i < 20; ++i) spawn(want(map, done));
  while (scheduler.turn()) {
  }
  CHECK(done == 20);
  CHECK(meta.iterators == 1);
}

TEST_CASE("a store that can't be read is an error and not an empty leaf, and is asked again") {
  Fixture fixture(1);
  fixture.write({kRoot, Epoch{3}}, kLeaf, 0, 30);
  fixture.checkpoint();
  auto& map = *fixture.map;
  fixture.meta.failing = true;
  CHECK(fixture.reactor->run(map.load({kRoot, Epoch{3}}, LeafIndex{9})).error().kind == ErrorKind::kIo);
  CHECK(!fixture.reactor->run(map.scan({kRoot, Epoch{3}}, {}, LeafIndex{99}, 10)));
  CHECK(!fixture.reactor->run(map.changes(kRoot, {}, Epoch{3}, {}, LeafIndex{99}, 10)));
  fixture.meta.failing = false;
  CHECK(fixture.read({kRoot, Epoch{3}}, LeafIndex{9}, 0) == 0);
  CHECK(fixture.read({kRoot, Epoch{3}}, kLeaf, 0) == 30);
}

TEST_CASE("what the store has in memory is looked up at once, the rest by a visit") {
  using InMemory = Watched::InMemory;
  Fixture fixture(1);  // nothing that is clean stays
  fixture.write({kRoot, Epoch{3}}, kLeaf, 0, 30);
  fixture.write({kRoot, Epoch{5}}, kLeaf, 0, 50);
  fixture.checkpoint();
  fixture.meta.in_memory = InMemory::kAll;
  const unsigned visits = fixture.meta.iterators;
  CHECK(fixture.read({kRoot, Epoch{4}}, kLeaf, 0) == 30);
  CHECK(fixture.read({BranchId{2}, Epoch{99}}, kLeaf, 0) == 50);
  CHECK(fixture.read({BranchId{4}, Epoch{99}}, kLeaf, 0) == 50);
  CHECK(fixture.meta.iterators == visits);
  // A long line of forks is one look-up for each.
  const unsigned looks = fixture.meta.looks_in_memory;
  CHECK(fixture.read({BranchId{5}, Epoch{99}}, kLeaf, 0) == 50);
  CHECK(fixture.meta.looks_in_memory == looks);
  CHECK(fixture.meta.iterators == visits + 1);

  fixture.meta.in_memory = InMemory::kNothing;
  CHECK(fixture.read({kRoot, Epoch{4}}, kLeaf, 0) == 30);
  CHECK(fixture.meta.iterators == visits + 2);
  // What is an error is for the visit to tell.
  fixture.meta.failing = true;
  CHECK(fixture.reactor->run(fixture.map->load({kRoot, Epoch{4}}, kLeaf)).error().kind == ErrorKind::kIo);
}

TEST_CASE("a deleted version that the store still has in memory does not answer") {
  Fixture fixture(1);
  fixture.write({kRoot, Epoch{3}}, kLeaf, 0, 30);
  fixture.write({kRoot, Epoch{5}}, kLeaf, 0, 50);
  fixture.checkpoint();
  fixture.meta.in_memory = Watched::InMemory::kAll;
  const auto all = ~std::uint64_t{0};
  REQUIRE(fixture.reactor->run(fixture.map->punch_version({kRoot, kLeaf, Epoch{5}}, all)));
  const unsigned looks = fixture.meta.looks_in_memory;
  CHECK(fixture.read({kRoot, Epoch{9}}, kLeaf, 0) == 30);
  CHECK(fixture.meta.looks_in_memory == looks + 1);
}

TEST_CASE("an entry of the store that does not decode is an error") {
  Fixture fixture;
  MetaBatch batch;
  batch.put(Family::kLeaf, encode_key(LeafKey{kRoot, kLeaf, Epoch{3}}), "\xff\xff");
  REQUIRE(fixture.meta.write(batch, false));
  CHECK(fixture.reactor->run(fixture.map->load({kRoot, Epoch{3}}, kLeaf)).error().kind ==
        ErrorKind::kCorrupt);
  CHECK(!fixture.reactor->run(fixture.map->scan({kRoot, Epoch{3}}, {}, LeafIndex{99}, 10)));
}
