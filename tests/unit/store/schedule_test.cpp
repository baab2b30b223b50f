// Snapshots that are taken and removed by themselves, and what a removal would free.
#include "store_fixture.h"

namespace coppice {
namespace {

using test::StoreFixture;
using Names = std::vector<std::string>;

constexpr std::int64_t kMonday = 1'763'942'400'000;  // 2025-11-24T00:00Z
constexpr std::uint64_t kMiB = 1 << 20;

void run_at(StoreFixture& house, std::int64_t now_ms) {
  house.now_ms = now_ms;
  house.require(house.run(house.store->run_policies()));
}

TEST_CASE("a schedule takes one snapshot an hour and keeps as many as it says") {
  StoreFixture house;
  house.create("web");
  house.require(house.run(house.store->set_schedule("web", {.hourly = 3, .daily = 2})));
  house.snapshot("web", "mine");
  for (int step = 0; step < 2 * 50; ++step) run_at(house, kMonday + step * StoreFixture::kHour / 2);
  // The last hour is Wednesday's second; Tuesday's last is its day's.
  CHECK(house.names() == Names{"web", "web@auto-2025-11-25T23:00Z", "web@auto-2025-11-26T00:00Z",
                               "web@auto-2025-11-26T01:00Z", "web@mine"});
  const auto info = house.run(house.store->schedule("web", std::nullopt));
  REQUIRE(info->snapshots.size() == 3);
  CHECK(info->rules == Schedule{.hourly = 3, .daily = 2});
  CHECK(info->snapshots[0].kept_as == Names{"hourly", "daily"});
  CHECK(info->snapshots[1].kept_as == Names{"hourly"});
  CHECK(info->next_unix_ms == kMonday + 50 * StoreFixture::kHour);
  CHECK(house.info("web", "auto-2025-11-26T01:00Z").scheduled);
  CHECK_FALSE(house.info("web", "mine").scheduled);
  house.reopen();
  run_at(house, house.now_ms);
  CHECK(house.names().size() == 5);
  house.check();
}

TEST_CASE("runs that were missed make one snapshot, what was removed by hand does not come back") {
  StoreFixture house;
  house.create("web");
  house.require(house.run(house.store->set_schedule("web", {.hourly = 24})));
  run_at(house, kMonday);
  house.close();
  house.now_ms += 100 * StoreFixture::kHour + 5;
  house.open();
  run_at(house, house.now_ms);
  run_at(house, house.now_ms + 1000);
  CHECK(house.names() == Names{"web", "web@auto-2025-11-24T00:00Z", "web@auto-2025-11-28T04:00Z"});
  house.require(house.run(house.store->remove({{"web", "auto-2025-11-28T04:00Z"}}, false)));
  run_at(house, house.now_ms + 1000);
  CHECK(house.names().size() == 2);
  // A clock that goes back into an hour that has its snapshot makes none, and removes none.
  run_at(house, kMonday + 10);
  CHECK(house.names().size() == 2);
}

TEST_CASE("only what the schedule made is removed by it, and not what is held or cloned from") {
  StoreFixture house;
  house.create("web");
  house.snapshot("web", "auto-2025-11-24T00:00Z");  // a name that the schedule would choose
  house.require(house.run(house.store->set_schedule("web", {.hourly = 1})));
  run_at(house, kMonday);
  house.require(house.run(house.store->hold({"web", "auto-2025-11-24T00:00Z-2"}, "audit")));
  run_at(house, kMonday + StoreFixture::kHour);
  CHECK(house.names() == Names{"web", "web@auto-2025-11-24T00:00Z", "web@auto-2025-11-24T00:00Z-2",
                               "web@auto-2025-11-24T01:00Z"});
  CHECK(house.told("is not kept by its schedule any more, and stays") == 1);
  run_at(house, kMonday + StoreFixture::kHour + 1);
  CHECK(house.told("") == 0);
  house.require(house.run(house.store->release({"web", "auto-2025-11-24T00:00Z-2"}, "")));
  run_at(house, kMonday + 2 * StoreFixture::kHour);
  CHECK(house.names() == Names{"web", "web@auto-2025-11-24T00:00Z", "web@auto-2025-11-24T02:00Z"});
}

TEST_CASE("a schedule goes with its disk: renamed, rolled back, in the trash and out of it") {
  StoreFixture house;
  house.create("web");
  house.require(house.run(house.store->set_schedule("web", {.daily = 2})));
  run_at(house, kMonday);
  house.require(house.run(house.store->rename({"web", ""}, "other")));
  house.require(house.run(
      house.store->rollback({{"other", "auto-2025-11-24T00:00Z"}}, {.keep_as = "", .discard = true})));
  run_at(house, kMonday + 24 * StoreFixture::kHour);
  CHECK(house.names() == Names{"other", "other@auto-2025-11-24T00:00Z", "other@auto-2025-11-25T00:00Z"});
  house.require(house.run(house.store->trash({{"other", ""}}, true)));
  run_at(house, kMonday + 47 * StoreFixture::kHour);
  house.require(house.run(house.store->undelete("other", "")));
  CHECK(house.names().size() == 3);
  run_at(house, kMonday + 72 * StoreFixture::kHour);
  CHECK(house.names() == Names{"other", "other@auto-2025-11-25T00:00Z", "other@auto-2025-11-27T00:00Z"});
  house.require(house.run(house.store->set_schedule("other", {})));
  house.refused(house.run(house.store->set_schedule("other", {})), ErrorKind::kNotFound, "no schedule");
  run_at(house, kMonday + 1000 * StoreFixture::kHour);
  CHECK(house.names().size() == 3);
  CHECK_FALSE(house.info("other", "auto-2025-11-25T00:00Z").scheduled);
  CHECK_FALSE(house.run(house.store->schedule("other", std::nullopt))->rules.on());
  house.refused(house.run(house.store->set_schedule("none", {.daily = 1})), ErrorKind::kNotFound, "none");
  house.refused(house.run(house.store->set_schedule("other", {.daily = 10'001})), ErrorKind::kInvalid,
                "10000");
  house.require(house.run(house.store->set_schedule("other", {.daily = 1})));
  house.require(house.run(house.store->remove({{"other", ""}}, true)));
  run_at(house, kMonday + 2000 * StoreFixture::kHour);
  house.check();
}

TEST_CASE("a preview of other rules says what they would remove and free, and changes nothing") {
  StoreFixture house;
  house.create("web");
  house.require(house.run(house.store->set_schedule("web", {.hourly = 10})));
  for (int hour = 0; hour < 5; ++hour) {
    house.fill("web", static_cast<char>('a' + hour));
    run_at(house, kMonday + hour * StoreFixture::kHour);
  }
  house.fill("web", 'z');
  const auto now = house.run(house.store->schedule("web", std::nullopt));
  CHECK(now->frees_bytes == 0);
  const auto other = house.run(house.store->schedule("web", Schedule{.hourly = 2}));
  CHECK(std::ranges::count_if(other->snapshots, [](const auto& each) { return each.kept_as.empty(); }) == 3);
  CHECK(other->frees_bytes == 3 * kMiB);
  CHECK(house.names().size() == 6);
}

TEST_CASE("what a removal would free is what it frees, of one or of many, with clones and branches between") {
  StoreFixture house;
  const auto used = [&] {
    house.require(house.run(house.store->wait_for_reclaim()));
    return house.run(house.store->pools())->front().used_bytes;
  };
  const auto build = [&] {
    house.create("web");
    for (const char* name : {"a", "b", "c", "d"}) {
      house.fill("web", name[0]);
      house.snapshot("web", name);
    }
    house.require(house.run(house.store->rollback({{"web", "b"}}, {.keep_as = "side"})));
    house.fill("web", 'e');
    house.snapshot("web", "e");
    house.require(house.run(house.store->clone({"web", "c"}, "copy")));
    house.fill("copy", 'f');
  };
  const std::vector<std::vector<Spec>> removals = {
      {{"web", "a"}}, {{"web", "b"}}, {{"web", "a"}, {"web", "b"}}, {{"web", "d"}, {"web", "side"}},
      {{"web", "e"}}, {{"copy", ""}}, {{"web", ""}, {"copy", ""}}};
  for (const auto& specs : removals) {
    build();
    const std::uint64_t before = used();
    const auto preview = house.run(house.store->preview_removal(specs, true, false));
    house.require(preview);
    CHECK(used() == before);
    house.require(house.run(house.store->remove(specs, true)));
    INFO(specs.front().text());
    CHECK(preview->frees_bytes == before - used());
    for (const char* disk : {"copy", "web"}) (void)house.run(house.store->remove({{disk, ""}}, true));
    CHECK(used() == 0);
  }
  build();
  house.refused(house.run(house.store->preview_removal({{"web", "c"}}, false, false)), ErrorKind::kBusy,
                "copy");
  const auto kept =
      house.run(house.store->rollback({{"web", "a"}}, {.keep_as = "x", .discard = false, .dry_run = true}));
  CHECK(*kept == "x");
  CHECK(house.first("web") == 'e');
  house.refused(house.run(house.store->info({"web", "x"})), ErrorKind::kNotFound, "x");
}

}  // namespace
}  // namespace coppice
