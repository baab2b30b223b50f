// What is foretold to be freed, and is.
#include "store_fixture.h"

namespace coppice {
namespace {

using test::StoreFixture;
using Names = std::vector<std::string>;
constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

struct House : StoreFixture {
  House() { require(run(store->create_disk("web", 8 * kMiB))); }
  std::uint64_t used() {
    require(run(store->wait_for_reclaim()));
    return run(store->pools())->front().used_bytes;
  }
  void back_to(const std::string& snapshot, const std::string& keep_as) {
    require(run(store->rollback({{"web", snapshot}}, {.keep_as = keep_as})));
  }
  // Both what `du` says and what a dry run says, which have to be one.
  std::uint64_t foretold(const std::vector<Spec>& specs) {
    auto space = run(store->space_of(specs, true));
    require(space);
    auto preview = run(store->preview_removal(specs, false, false));
    require(preview);
    CHECK(space->own_bytes == preview->frees_bytes);
    return space->own_bytes;
  }
  void removes_as_foretold(const std::vector<Spec>& specs, std::uint64_t bytes) {
    const std::uint64_t before = used();
    CHECK(foretold(specs) == bytes);
    require(run(store->remove(specs, false)));
    CHECK(before - used() == bytes);
    check();
  }
};

TEST_CASE("what several see is freed by removing all of them") {
  House house;
  house.fill("web", 'a');
  house.snapshot("web", "one");
  house.snapshot("web", "two");
  house.fill("web", 'b');
  house.snapshot("web", "three");
  const auto rows = house.run(house.store->space("web"));
  for (const SpaceInfo& row : *rows) CHECK(row.frees_bytes == 0);
  CHECK(house.foretold({{"web", "one"}}) == 0);
  house.removes_as_foretold({{"web", "one"}, {"web", "two"}}, kMiB);
  house.removes_as_foretold({{"web", "three"}}, 0);
}

// one -> { left -> left-kept, two -> { right -> right-kept, the disk } }
struct Forked : House {
  Forked() {
    fill("web", 'a');
    snapshot("web", "one");
    fill("web", 'b');
    snapshot("web", "left");
    back_to("one", "left-kept");
    snapshot("web", "two");
    fill("web", 'c');
    snapshot("web", "right");
    back_to("two", "right-kept");
    fill("web", 'd');
  }
};

TEST_CASE("what only two removed forks saw comes back, and what others see stays") {
  Forked house;
  house.removes_as_foretold({{"web", "one"}, {"web", "two"}}, kMiB);
  CHECK(house.first("web", "left") == 'b');
  CHECK(house.first("web", "right") == 'c');
  CHECK(house.first("web") == 'd');
  house.reopen();
  house.removes_as_foretold({{"web", "left"}, {"web", "left-kept"}}, kMiB);
  house.removes_as_foretold({{"web", "right"}}, 0);
  house.removes_as_foretold({{"web", "right-kept"}}, kMiB);
  CHECK(house.used() == kMiB);
  CHECK(house.first("web") == 'd');
}

TEST_CASE("a fork gives back what the last one below it leaves") {
  Forked house;
  house.fill("web", 'e', kMiB);
  house.require(house.run(house.store->remove({{"web", "one"}}, false)));
  CHECK(house.used() == 5 * kMiB);
  // "a" is seen by "two" alone now, which is below the fork that "one" has left.
  house.removes_as_foretold({{"web", "two"}}, kMiB);
  house.removes_as_foretold({{"web", "right"}, {"web", "right-kept"}}, kMiB);
  house.removes_as_foretold({{"web", "left"}, {"web", "left-kept"}}, kMiB);
  CHECK(house.used() == 2 * kMiB);
}

TEST_CASE("what a disk writes over that a fork holds for it comes back when it is looked for") {
  House house;
  house.fill("web", 'a');
  house.snapshot("web", "one");
  house.fill("web", 'b');
  house.snapshot("web", "left");
  house.back_to("one", "left-kept");
  house.require(house.run(house.store->remove({{"web", "one"}}, false)));
  CHECK(house.used() == 2 * kMiB);
  house.fill("web", 'c');
  CHECK(house.used() == 2 * kMiB);
  CHECK(house.first("web") == 'c');
  house.check();
}

TEST_CASE("a pool that runs full looks for what a fork holds for nobody") {
  StoreFixture house(256 * kMiB);
  const std::uint64_t disk_bytes = 64 * kMiB;
  const auto fill = [&](const char* disk, char value) {
    for (std::uint64_t at = 0; at < disk_bytes; at += kMiB) house.fill(disk, value, at);
  };
  house.require(house.run(house.store->create_disk("web", disk_bytes)));
  house.require(house.run(house.store->create_disk("other", disk_bytes)));
  fill("web", 'a');
  house.snapshot("web", "one");
  fill("web", 'b');
  house.snapshot("web", "left");
  house.require(house.run(house.store->rollback({{"web", "one"}}, {.keep_as = "", .discard = true})));
  house.require(house.run(house.store->remove({{"web", "one"}}, false)));
  house.require(house.run(house.store->wait_for_reclaim()));
  fill("web", 'c');  // nobody sees what "one" had any more
  fill("other", 'd');
  CHECK(house.first("web") == 'c');
  CHECK(house.first("web", "left") == 'b');
  CHECK(house.first("other") == 'd');
  house.check();
}

TEST_CASE("ranges follow the line of a tree") {
  Forked house;
  const auto names = [&](Spec first, Spec last) {
    auto line = house.run(house.store->range(first, last));
    house.require(line);
    Names all;
    for (const Spec& spec : *line) all.push_back(spec.snapshot);
    return all;
  };
  CHECK(names({"web", ""}, {"web", ""}) == Names{"one", "two"});
  CHECK(names({"web", ""}, {"web", "right-kept"}) == Names{"one", "two", "right", "right-kept"});
  CHECK(names({"web", "two"}, {"web", "right"}) == Names{"two", "right"});
  CHECK(names({"web", "left"}, {"web", "left"}) == Names{"left"});
  house.refused(house.run(house.store->range({"web", "left"}, {"web", "right"})), ErrorKind::kInvalid,
                "web@left does not lead to web@right");
  house.refused(house.run(house.store->range({"web", "right"}, {"web", "one"})), ErrorKind::kInvalid,
                "tree web");
  house.refused(house.run(house.store->range({"web", "none"}, {"web", "one"})), ErrorKind::kNotFound,
                "web@none");
  house.require(house.run(house.store->clone({"web", "one"}, "copy")));
  house.refused(house.run(house.store->range({"copy", ""}, {"copy", ""})), ErrorKind::kNotFound, "empty");
}

TEST_CASE("what is on its way back is told until it is there, by disk and in all") {
  StoreFixture house;
  for (const char* disk : {"web", "db"}) {
    house.create(disk);
    house.fill(disk, 1);
    house.snapshot(disk, "a");
    house.fill(disk, 2);
  }
  const auto left = [&](std::optional<std::string> disk) {
    auto found = house.run(house.store->reclaim(std::move(disk)));
    house.require(found);
    return *found;
  };
  CHECK(left(std::nullopt).nodes == 0);
  house.require(house.run(house.store->remove({{"web", "a"}}, false)));
  const ReclaimInfo all = left(std::nullopt);
  CHECK((all.nodes == 1 && all.total_bytes == 1 << 20 && all.looked_bytes <= all.total_bytes));
  CHECK(left("web").nodes == 1);
  CHECK(left("db").nodes == 0);
  house.require(house.run(house.store->wait_for_reclaim()));
  CHECK(left(std::nullopt).nodes == 0);
  house.refused(house.run(house.store->reclaim("none")), ErrorKind::kNotFound, "none");
}

}  // namespace
}  // namespace coppice
