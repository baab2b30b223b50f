// Snapshots of several disks: taken as one, known as one, gone back to as one.
#include <cstring>
#include <map>

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

struct OnlineFixture : GroupFixture {
  struct Client {
    std::string token;
    std::unique_ptr<BlockDevice> device;
    bool asked = false;
  };
  std::map<std::string, Client> clients;

  void come(const std::string& disk) {
    Client& client = clients[disk];
    if (client.token.empty()) {
      auto made = run(store->attach(disk, {}));
      require(made);
      client.token = made->token;
    }
    client.asked = false;
    Holder holder{.description = disk + "'s client",
                  .leave = [&client](const std::string&) { client.asked = true; }};
    auto opened = run(store->open_attachment(disk, client.token, std::move(holder)));
    require(opened);
    client.device = std::move(*opened);
  }
  Task<void> roll_back(std::vector<Spec> to, Outcome<std::string>& done, bool& over) {
    done = co_await store->rollback(std::move(to), {.keep_as = "kept", .online = true});
    over = true;
  }
  void pause() {
    run([](Reactor& on) -> Task<void> { co_await sleep_for(on, std::chrono::milliseconds(1)); }(*reactor));
  }
};

TEST_CASE("the clients of all disks are asked at once, and all of them must have left") {
  OnlineFixture house;
  for (const char* disk : {"db", "web"}) house.come(disk);
  Outcome<std::string> done;
  bool over = false;
  spawn(house.roll_back(house.at("x"), done, over));
  while (!house.clients["db"].asked) house.pause();
  CHECK(house.clients["web"].asked);
  for (const char* disk : {"web", "db"}) {
    house.pause();
    CHECK_FALSE(over);
    house.clients[disk].device.reset();
  }
  while (!over) house.pause();
  house.require(done);
  house.holds(1);
}

// Each write follows the answer to the one before, round the disks; whoever may not go on ends all of it.
Task<void> write_in_turn(OnlineFixture& house, std::uint64_t& written, bool& over) {
  AlignedBuffer block(4096);
  for (bool on = true; on;) {
    ++written;
    std::memcpy(block.span().data(), &written, sizeof written);
    for (const char* disk : {"db", "web"}) {
      OnlineFixture::Client& client = house.clients[disk];
      on = on && !client.asked;
      if (on) on = (co_await client.device->write(0, block.span(), WriteFlags{})).has_value();
    }
  }
  for (auto& [disk, client] : house.clients) client.device.reset();
  over = true;
}

TEST_CASE("what is kept of disks that were written in turn is one point in time") {
  OnlineFixture house;
  for (int round = 0; round < 20; ++round) {
    for (const char* disk : {"db", "web"}) house.come(disk);
    std::uint64_t written = 0;
    bool stopped = false;
    bool over = false;
    Outcome<std::string> done;
    spawn(write_in_turn(house, written, stopped));
    while (written < 10 + static_cast<std::uint64_t>(round)) house.pause();
    spawn(house.roll_back({{"db", "x"}, {"web", "x"}}, done, over));
    while (!over || !stopped) house.pause();
    house.require(done);
    std::uint64_t kept[2] = {};
    std::size_t which = 0;
    for (const char* disk : {"db", "web"}) {
      auto reader = house.run(house.store->open_device({disk, "kept"}, Access::kReadOnly, {"test"}));
      house.require(reader);
      AlignedBuffer block(4096);
      REQUIRE(house.run((*reader)->read(0, block.span())).has_value());
      std::memcpy(&kept[which++], block.span().data(), sizeof kept[0]);
    }
    CHECK(kept[0] + 1 >= written);
    CHECK((kept[0] == kept[1] || kept[0] == kept[1] + 1));
    house.require(house.run(house.store->remove({{"db", "kept"}, {"web", "kept"}}, false)));
  }
}

TEST_CASE("a disk that takes a name while clients leave is not rolled back in its place") {
  OnlineFixture house;
  house.come("web");
  Outcome<std::string> done;
  bool over = false;
  spawn(house.roll_back({{"db", "x"}, {"web", "x"}}, done, over));
  while (!house.clients["web"].asked) house.pause();
  house.require(house.run(house.store->rename({"db", ""}, "old")));
  house.require(house.run(house.store->clone({"old", "x"}, "db")));
  house.fill("db", 5);
  house.snapshot("db", "x");
  house.come("db");
  house.clients["web"].device.reset();
  while (!over) house.pause();
  house.refused(done, ErrorKind::kBusy, "db has become another one");
  CHECK_FALSE(house.clients["db"].asked);
  CHECK(house.first("db") == 5);
  CHECK(house.first("web") == 2);
  house.clients.clear();
}

TEST_CASE("a snapshot whose data was given up stands for itself") {
  GroupFixture house;
  house.require(house.run(house.store->keep_changes({{"log", "x"}})));
  CHECK(house.group({"log", "x"}).snapshots == std::vector<Spec>{{"log", "x"}});
}

}  // namespace
}  // namespace coppice
