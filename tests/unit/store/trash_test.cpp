// Removed disks, and how they come back.
#include "store_fixture.h"

namespace coppice {
namespace {

using test::StoreFixture;
using Names = std::vector<std::string>;

TEST_CASE("a removed disk comes back whole, with its snapshots, its holds and its content") {
  StoreFixture house;
  house.create("web");
  house.fill("web", 'a');
  house.snapshot("web", "one");
  house.fill("web", 'b');
  house.require(
      house.run(house.store->snapshot({{"web", "two"}}, {.note = "x", .expires_unix_ms = house.now_ms * 2})));
  house.refused(house.run(house.store->trash({{"web", ""}}, false)), ErrorKind::kBusy, "2 snapshots");
  const auto until = house.run(house.store->trash({{"web", ""}}, true));
  house.require(until);
  CHECK(*until == house.now_ms + 24 * StoreFixture::kHour);
  CHECK(house.names().empty());
  CHECK(house.run(house.store->space(std::nullopt))->empty());
  house.refused(house.run(house.store->info({"web", ""})), ErrorKind::kNotFound, "web");
  house.refused(house.run(house.store->open_device({"web", "one"}, Access::kReadOnly, {"x"})),
                ErrorKind::kNotFound, "web");
  house.reopen();
  const auto trash = house.run(house.store->trashed());
  REQUIRE(trash->size() == 1);
  CHECK(trash->front().disk == "web");
  CHECK(trash->front().snapshots == 2);
  CHECK(trash->front().until_unix_ms == *until);
  CHECK(trash->front().frees_bytes == 2 << 20);
  house.check();
  house.require(house.run(house.store->undelete("web", "")));
  CHECK(house.names() == Names{"web", "web@one", "web@two"});
  CHECK(house.first("web") == 'b');
  CHECK(house.first("web", "one") == 'a');
  CHECK(house.info("web", "two").note == "x");
  CHECK(house.info("web", "two").expires_unix_ms == house.now_ms * 2);
  CHECK(house.run(house.store->trashed())->empty());
  house.fill("web", 'c');
  house.reopen();
  CHECK(house.first("web") == 'c');
  house.check();
}

TEST_CASE("the name of a disk in the trash is free, and of several the last removed comes back first") {
  StoreFixture house;
  for (const char value : {'1', '2', '3'}) {
    house.create("web");
    house.fill("web", value);
    if (value == '3') break;
    house.require(house.run(house.store->trash({{"web", ""}}, false)));
    house.now_ms += 1000;
  }
  house.reopen();
  CHECK(house.first("web") == '3');
  house.refused(house.run(house.store->undelete("web", "")), ErrorKind::kExists, "undelete web NEWNAME");
  house.refused(house.run(house.store->undelete("none", "")), ErrorKind::kNotFound, "ls --trash");
  house.refused(house.run(house.store->undelete("web", "-x")), ErrorKind::kInvalid, "-x");
  house.require(house.run(house.store->undelete("web", "second")));
  house.require(house.run(house.store->undelete("web", "first")));
  house.reopen();
  CHECK(house.first("second") == '2');
  CHECK(house.first("first") == '1');
  CHECK(house.names() == Names{"first", "second", "web"});
}

TEST_CASE("a disk whose name an older one of the trash had is found after a restart, whatever their ids") {
  StoreFixture house;
  house.create("first");
  house.create("web");
  house.fill("first", '1');
  house.require(house.run(house.store->trash({{"web", ""}}, false)));
  house.require(house.run(house.store->rename({"first", ""}, "web")));
  house.reopen();
  CHECK(house.first("web") == '1');
  house.require(house.run(house.store->purge({"web"})));
  CHECK(house.first("web") == '1');
  house.reopen();
  CHECK(house.names() == Names{"web"});
  house.refused(house.run(house.store->create_disk("web", 4096)), ErrorKind::kExists, "web");
}

TEST_CASE("the trash is emptied after a day, not before") {
  StoreFixture house;
  house.create("web");
  house.create("db");
  house.require(house.run(house.store->trash({{"web", ""}}, false)));
  house.now_ms += StoreFixture::kHour;
  house.require(house.run(house.store->trash({{"db", ""}}, false)));
  house.now_ms += 23 * StoreFixture::kHour - 1;
  house.require(house.run(house.store->run_policies()));
  CHECK(house.run(house.store->trashed())->size() == 2);
  house.now_ms += 1;
  house.require(house.run(house.store->run_policies()));
  CHECK(house.told("disk web was in the trash") == 1);
  house.refused(house.run(house.store->undelete("web", "")), ErrorKind::kNotFound, "web");
  house.require(house.run(house.store->undelete("db", "")));
  house.now_ms += 100 * StoreFixture::kHour;
  house.require(house.run(house.store->run_policies()));
  CHECK(house.names() == Names{"db"});
  house.check();
}

TEST_CASE("a disk goes with what was named beside it, and what is in the way stops all of it") {
  StoreFixture house;
  house.create("web");
  house.create("db");
  house.snapshot("web", "a");
  house.snapshot("db", "a");
  house.snapshot("db", "b");
  house.require(house.run(house.store->hold({"db", "b"}, "audit")));
  house.refused(house.run(house.store->trash({{"web", ""}, {"db", ""}}, true)), ErrorKind::kBusy,
                "db@b is held by audit");
  CHECK(house.names().size() == 5);
  {
    auto device = house.run(house.store->open_device({"web", ""}, Access::kReadOnly, {"a guest"}));
    house.refused(house.run(house.store->trash({{"web", ""}}, true)), ErrorKind::kBusy, "a guest");
  }
  // All its snapshots are named: they go with it, and come back with it. The other disk's is removed.
  house.require(house.run(house.store->trash({{"web", "a"}, {"web", ""}, {"db", "a"}}, false)));
  CHECK(house.names() == Names{"db", "db@b"});
  house.require(house.run(house.store->undelete("web", "")));
  CHECK(house.names() == Names{"db", "db@b", "web", "web@a"});
}

TEST_CASE("nothing stands on a disk that is in the trash, but what is there as well") {
  StoreFixture house;
  house.create("base");
  house.fill("base", 'x');
  house.snapshot("base", "s");
  house.require(house.run(house.store->clone({"base", "s"}, "copy")));
  house.refused(house.run(house.store->trash({{"base", ""}}, true)), ErrorKind::kBusy, "copy");
  house.require(house.run(house.store->trash({{"copy", ""}}, false)));
  CHECK(house.info("base", "s").clones.empty());
  // Removed at once it would take away what the clone needs.
  house.refused(house.run(house.store->remove({{"base", "s"}}, false)), ErrorKind::kBusy, "in the trash");
  house.refused(house.run(house.store->remove({{"base", ""}}, true)), ErrorKind::kBusy, "rm --trash copy");
  house.now_ms += 1;
  house.require(house.run(house.store->trash({{"base", ""}}, true)));
  house.refused(house.run(house.store->undelete("copy", "")), ErrorKind::kBusy, "undelete base first");
  house.refused(house.run(house.store->purge({"base"})), ErrorKind::kBusy, "copy");
  house.reopen();
  house.require(house.run(house.store->undelete("base", "")));
  house.require(house.run(house.store->undelete("copy", "")));
  CHECK(house.first("copy") == 'x');
  // Even if a clock that went back says that the clone came later.
  house.require(house.run(house.store->trash({{"copy", ""}}, false)));
  house.now_ms -= StoreFixture::kHour;
  house.require(house.run(house.store->trash({{"base", ""}}, true)));
  house.now_ms += 200 * StoreFixture::kHour;
  house.require(house.run(house.store->run_policies()));
  CHECK(house.run(house.store->trashed())->empty());
  house.check();
}

TEST_CASE("what a clone stands on does not go with the clone's own snapshot above it") {
  StoreFixture house;
  house.create("base");
  house.fill("base", 'x');
  house.snapshot("base", "s");
  house.require(house.run(house.store->clone({"base", "s"}, "copy")));
  house.snapshot("copy", "t");
  const std::vector<Spec> both{{"base", "s"}, {"copy", "t"}};
  house.refused(house.run(house.store->remove(both, false)), ErrorKind::kBusy, "copy");
  house.refused(house.run(house.store->remove({{"base", ""}, {"base", "s"}, {"copy", "t"}}, false)),
                ErrorKind::kBusy, "copy");
  house.require(house.run(house.store->remove({{"copy", ""}, {"copy", "t"}, {"base", "s"}}, false)));
  house.check();
}

TEST_CASE("removed for good, from the trash or past it") {
  StoreFixture house;
  house.create("web");
  house.snapshot("web", "a");
  house.require(house.run(house.store->remove({{"web", ""}}, true)));
  CHECK(house.run(house.store->trashed())->empty());
  house.create("web");
  house.require(house.run(house.store->trash({{"web", ""}}, false)));
  house.create("web");
  house.require(house.run(house.store->trash({{"web", ""}}, false)));
  house.refused(house.run(house.store->purge({"web", "none"})), ErrorKind::kNotFound, "none");
  CHECK(house.run(house.store->trashed())->size() == 2);
  house.require(house.run(house.store->purge({"web"})));
  CHECK(house.run(house.store->trashed())->empty());
  house.check();
}

TEST_CASE("a pool that runs full takes the trash, the oldest first, before anybody is told") {
  StoreFixture house(std::uint64_t{256} << 20);
  const std::uint64_t disk_bytes = std::uint64_t{64} << 20;
  const auto create_full = [&](const char* name) {
    house.require(house.run(house.store->create_disk(name, disk_bytes)));
    for (std::uint64_t at = 0; at < disk_bytes; at += 1 << 20) house.fill(name, name[0], at);
  };
  for (const char* name : {"one", "two", "xyz"}) {
    create_full(name);
    house.require(house.run(house.store->trash({{name, ""}}, false)));
    house.now_ms += 1000;
  }
  CHECK(house.told("the pool is full") == 0);
  create_full("four");
  CHECK(house.told("the pool is full: disk one is removed") == 1);
  CHECK(house.run(house.store->trashed())->size() == 2);
  house.refused(house.run(house.store->undelete("one", "")), ErrorKind::kNotFound, "one");
  house.require(house.run(house.store->undelete("two", "")));
  create_full("five");
  CHECK(house.told("the pool is full: disk xyz is removed") == 1);
  // Nothing is left to be taken.
  house.require(house.run(house.store->create_disk("six", disk_bytes)));
  auto device = house.run(house.store->open_device({"six", ""}, Access::kReadWrite, {"test"}));
  house.require(device);
  AlignedBuffer buffer(1 << 20);
  Result<> written;
  for (std::uint64_t at = 0; written && at < disk_bytes; at += 1 << 20)
    written = house.run((*device)->write(at, buffer.span(), WriteFlags{}));
  REQUIRE_FALSE(written.has_value());
  CHECK(written.error().kind == ErrorKind::kNoSpace);
  device->reset();
  CHECK(house.first("two") == 't');
  CHECK(house.first("four") == 'f');
  CHECK(house.first("five") == 'f');
  house.check();
}

}  // namespace
}  // namespace coppice
