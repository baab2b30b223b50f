// How long snapshots stay: holds, and when they expire.
#include "store_fixture.h"

namespace coppice {
namespace {

using test::StoreFixture;

TEST_CASE("a held snapshot can't be removed until it is released, also after a restart") {
  StoreFixture house;
  house.create("web");
  house.snapshot("web", "a");
  house.require(house.run(house.store->hold({"web", "a"}, "nightly")));
  house.require(house.run(house.store->hold({"web", "a"}, "audit")));
  house.reopen();
  CHECK(house.info("web", "a").holds == std::vector<std::string>{"audit", "nightly"});
  house.refused(house.run(house.store->remove({{"web", "a"}}, false)), ErrorKind::kBusy, "audit, nightly");
  house.refused(house.run(house.store->remove({{"web", ""}}, true)), ErrorKind::kBusy, "web@a is held");
  house.refused(house.run(house.store->release({"web", "a"}, "")), ErrorKind::kInvalid, "audit, nightly");
  house.refused(house.run(house.store->release({"web", "a"}, "none")), ErrorKind::kNotFound, "none");
  CHECK(*house.run(house.store->release({"web", "a"}, "audit")) == "audit");
  house.refused(house.run(house.store->remove({{"web", "a"}}, false)), ErrorKind::kBusy, "nightly");
  CHECK(*house.run(house.store->release({"web", "a"}, "")) == "nightly");
  house.refused(house.run(house.store->release({"web", "a"}, "")), ErrorKind::kNotFound, "not held");
  house.require(house.run(house.store->remove({{"web", "a"}}, false)));
  CHECK(house.run(house.store->check(false))->problems.empty());
}

TEST_CASE("what can't be held, and how often") {
  StoreFixture house;
  house.create("web");
  house.snapshot("web", "a");
  house.refused(house.run(house.store->hold({"web", ""}, "x")), ErrorKind::kInvalid, "web@SNAPSHOT");
  house.refused(house.run(house.store->hold({"web", "b"}, "x")), ErrorKind::kNotFound, "web@b");
  house.refused(house.run(house.store->hold({"web", "a"}, "-x")), ErrorKind::kInvalid, "-x");
  for (int i = 0; i < 32; ++i)
    house.require(house.run(house.store->hold({"web", "a"}, "tag" + std::to_string(i))));
  house.refused(house.run(house.store->hold({"web", "a"}, "tag3")), ErrorKind::kExists, "tag3");
  house.refused(house.run(house.store->hold({"web", "a"}, "more")), ErrorKind::kInvalid, "32");
}

TEST_CASE("a hold goes with its snapshot: renamed, cloned from, rolled back to, but not into what is new") {
  StoreFixture house;
  house.create("web");
  house.require(house.run(house.store->snapshot({{"web", "a"}}, {.note = "before"})));
  house.require(house.run(house.store->hold({"web", "a"}, "x")));
  house.require(house.run(house.store->rename({"web", "a"}, "b")));
  CHECK(house.info("web", "b").holds.size() == 1);
  CHECK(house.info("web", "b").note == "before");
  house.require(house.run(house.store->clone({"web", "b"}, "copy")));
  house.require(house.run(house.store->rollback({{"web", "b"}}, {.keep_as = "kept"})));
  house.snapshot("web", "c");
  for (const char* name : {"c", "kept", ""}) CHECK(house.info("web", name).holds.empty());
  CHECK(house.info("copy").holds.empty());
}

TEST_CASE("what has expired is removed, and nothing before its time") {
  StoreFixture house;
  house.create("web");
  const std::int64_t end = house.now_ms + 72 * StoreFixture::kHour;
  house.require(house.run(house.store->snapshot({{"web", "a"}}, {.note = "x", .expires_unix_ms = end})));
  house.snapshot("web", "b");
  house.snapshot("web", "c");
  house.require(house.run(house.store->set_expiry({"web", "b"}, end + 1)));
  house.reopen();
  CHECK(house.info("web", "a").expires_unix_ms == end);
  CHECK(house.info("web", "c").expires_unix_ms == 0);
  house.now_ms = end - 1;
  house.require(house.run(house.store->run_policies()));
  CHECK(house.names() == std::vector<std::string>{"web", "web@a", "web@b", "web@c"});
  house.now_ms = end;
  house.require(house.run(house.store->run_policies()));
  CHECK(house.names() == std::vector<std::string>{"web", "web@b", "web@c"});
  CHECK(house.told("web@a has expired") == 1);
  house.require(house.run(house.store->set_expiry({"web", "b"}, 0)));
  house.now_ms += 1000 * StoreFixture::kHour;
  house.require(house.run(house.store->run_policies()));
  CHECK(house.names() == std::vector<std::string>{"web", "web@b", "web@c"});
  house.refused(house.run(house.store->set_expiry({"web", ""}, end)), ErrorKind::kInvalid, "web@SNAPSHOT");
  house.refused(house.run(house.store->set_expiry({"web", "x"}, end)), ErrorKind::kNotFound, "web@x");
  house.check();
}

TEST_CASE("an expired snapshot that is held, open or cloned from stays, and that is told once") {
  StoreFixture house;
  house.create("web");
  for (const char* name : {"held", "open", "origin"}) {
    house.require(
        house.run(house.store->snapshot({{"web", name}}, {.note = "", .expires_unix_ms = house.now_ms + 1})));
  }
  house.require(house.run(house.store->hold({"web", "held"}, "audit")));
  house.require(house.run(house.store->clone({"web", "origin"}, "copy")));
  auto device = house.run(house.store->open_device({"web", "open"}, Access::kReadOnly, {"a reader"}));
  house.require(device);
  house.now_ms += 5;
  house.require(house.run(house.store->run_policies()));
  CHECK(house.names() == std::vector<std::string>{"copy", "web", "web@held", "web@open", "web@origin"});
  CHECK(house.told("has expired, and stays") == 3);
  house.require(house.run(house.store->run_policies()));
  CHECK(house.told("") == 0);
  device->reset();
  house.require(house.run(house.store->release({"web", "held"}, "")));
  house.require(house.run(house.store->remove({{"copy", ""}}, false)));
  house.require(house.run(house.store->run_policies()));
  CHECK(house.names() == std::vector<std::string>{"web"});
  CHECK(house.told("has expired and is removed") == 3);
}

TEST_CASE("many expire in more than one round, and a clock that goes back brings nothing to its end") {
  StoreFixture house;
  house.create("web");
  for (int i = 0; i < 70; ++i) {
    const SnapshotOptions options{.note = "", .expires_unix_ms = house.now_ms + StoreFixture::kHour};
    house.require(house.run(house.store->snapshot({{"web", "s" + std::to_string(i)}}, options)));
  }
  house.now_ms -= 1000 * StoreFixture::kHour;
  house.require(house.run(house.store->run_policies()));
  CHECK(house.names().size() == 71);
  house.now_ms += 2000 * StoreFixture::kHour;
  house.require(house.run(house.store->run_policies()));
  house.require(house.run(house.store->run_policies()));
  CHECK(house.names().size() == 1);
}

}  // namespace
}  // namespace coppice
