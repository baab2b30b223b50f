// How long snapshots stay: holds.
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
  house.require(house.run(house.store->rollback({"web", "b"}, {.keep_as = "kept"})));
  house.snapshot("web", "c");
  for (const char* name : {"c", "kept", ""}) CHECK(house.info("web", name).holds.empty());
  CHECK(house.info("copy").holds.empty());
}

}  // namespace
}  // namespace coppice
