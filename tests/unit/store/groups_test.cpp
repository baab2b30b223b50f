// Snapshots of several disks: taken as one, known as one, gone back to as one.
#include "store_fixture.h"

namespace coppice {
namespace {

using test::StoreFixture;

struct GroupFixture : StoreFixture {
  const std::vector<std::string> disks{"db", "log", "web"};

  GroupFixture() {
    for (const std::string& disk : disks) {
      create(disk);
      fill(disk, 1);
    }
    require(run(store->snapshot(at("x"), {})));
    for (const std::string& disk : disks) fill(disk, 2);
  }
  [[nodiscard]] std::vector<Spec> at(const std::string& snapshot) const {
    std::vector<Spec> specs;
    for (const std::string& disk : disks) specs.push_back({disk, snapshot});
    return specs;
  }
  GroupInfo group(const Spec& spec) {
    auto found = run(store->group(spec));
    require(found);
    return *found;
  }
  void holds(char value) {
    for (const std::string& disk : disks) CHECK(first(disk) == value);
  }
};

TEST_CASE("what was taken together is known together, also after a restart and under new names") {
  GroupFixture house;
  house.snapshot("web", "alone");
  house.reopen();
  for (const std::string& disk : house.disks) {
    const GroupInfo group = house.group({disk, "x"});
    CHECK(group.snapshots == house.at("x"));
    CHECK(group.taken == 3);
    CHECK(house.info(disk, "x").group.id == group.id);
    CHECK(house.info(disk).group.id == 0);
  }
  CHECK(house.group({"web", "alone"}).snapshots == std::vector<Spec>{{"web", "alone"}});
  CHECK(house.group({"web", "alone"}).taken == 1);
  CHECK(house.info("web", "alone").group.id == 0);
  house.require(house.run(house.store->rename({"log", "x"}, "y")));
  house.require(house.run(house.store->rename({"db", ""}, "a")));
  house.require(house.run(house.store->hold({"a", "x"}, "tag")));
  CHECK(house.group({"web", "x"}).snapshots == std::vector<Spec>{{"a", "x"}, {"log", "y"}, {"web", "x"}});
  house.refused(house.run(house.store->group({"web", ""})), ErrorKind::kInvalid, "web@SNAPSHOT");
  house.refused(house.run(house.store->group({"web", "none"})), ErrorKind::kNotFound, "web@none");
}

TEST_CASE("what is gone, or in the trash, is missing in its group, and comes back with its disk") {
  GroupFixture house;
  house.require(house.run(house.store->trash({{"db", ""}}, true)));
  CHECK(house.group({"web", "x"}).snapshots == std::vector<Spec>{{"log", "x"}, {"web", "x"}});
  CHECK(house.group({"web", "x"}).taken == 3);
  house.require(house.run(house.store->undelete("db", "")));
  CHECK(house.group({"web", "x"}).snapshots == house.at("x"));
  house.require(house.run(house.store->keep_changes({{"log", "x"}})));
  house.require(house.run(house.store->remove({{"db", "x"}}, false)));
  CHECK(house.group({"web", "x"}).snapshots == std::vector<Spec>{{"web", "x"}});
}

TEST_CASE("several disks go back as one, and forward again: what they held is a group as well") {
  GroupFixture house;
  CHECK(*house.run(house.store->rollback(house.at("x"), {.keep_as = "left"})) == "left");
  house.holds(1);
  CHECK(house.group({"web", "left"}).snapshots == house.at("left"));
  house.reopen();
  house.require(house.run(house.store->rollback(house.at("left"), {.keep_as = {}, .discard = true})));
  house.holds(2);
  house.require(house.run(house.store->rollback({{"web", "x"}}, {.keep_as = "single"})));
  CHECK(house.info("web", "single").group.id == 0);
  house.check();
}

TEST_CASE("where one can't go back none does") {
  GroupFixture house;
  const auto refused = [&](std::vector<Spec> to, const RollbackOptions& options, ErrorKind kind,
                           const std::string& says) {
    house.refused(house.run(house.store->rollback(std::move(to), options)), kind, says);
    house.holds(2);
  };
  refused({}, {}, ErrorKind::kInvalid, "name the snapshots");
  refused({{"db", "x"}, {"web", "none"}}, {}, ErrorKind::kNotFound, "web@none");
  refused({{"db", "x"}, {"web", ""}}, {}, ErrorKind::kInvalid, "web@NAME");
  refused({{"db", "x"}, {"web", "x"}, {"db", "x"}}, {}, ErrorKind::kInvalid, "db is named twice");
  house.snapshot("web", "taken");
  refused(house.at("x"), {.keep_as = "taken"}, ErrorKind::kExists, "web@taken");
  {
    auto device = house.run(house.store->open_device({"log", ""}, Access::kReadWrite, {"a client"}));
    house.require(device);
    house.refused(house.run(house.store->rollback(house.at("x"), {})), ErrorKind::kBusy, "a client");
  }
  house.holds(2);
  // The name that is made up is free on each.
  const std::string kept = *house.run(house.store->rollback({{"log", "x"}}, {}));
  const std::string of_all = *house.run(house.store->rollback(house.at("x"), {}));
  CHECK(of_all == kept + "-2");
  house.holds(1);
}

}  // namespace
}  // namespace coppice
