// Snapshots whose data was given up, and what is still known since them.
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
  void keep(const std::string& name) { require(run(store->keep_changes({{"web", name}}))); }
  std::vector<std::uint64_t> changed(const std::string& from, const std::string& to = "") {
    auto ranges = run(store->diff({"web", from}, {"web", to}, 0));
    require(ranges);
    std::vector<std::uint64_t> mebibytes;
    for (const DiffRange& range : *ranges) {
      CHECK(range.length_bytes % kMiB == 0);
      for (std::uint64_t at = range.offset_bytes; at < range.offset_bytes + range.length_bytes; at += kMiB)
        mebibytes.push_back(at / kMiB);
    }
    return mebibytes;
  }
};
using Mebibytes = std::vector<std::uint64_t>;

TEST_CASE("the data is given back, and the diff is what it was") {
  House house;
  for (std::uint64_t at = 0; at < 4; ++at) house.fill("web", 'a', at * kMiB);
  house.snapshot("web", "one");
  house.fill("web", 'b', 1 * kMiB);
  house.snapshot("web", "two");
  house.fill("web", 'c', 1 * kMiB);
  house.fill("web", 'c', 6 * kMiB);
  const Mebibytes before = house.changed("one");
  CHECK(before == Mebibytes{1, 6});
  CHECK(house.used() == 7 * kMiB);
  const auto preview = house.run(house.store->preview_removal({{"web", "one"}}, false, false));
  CHECK(preview->frees_bytes == kMiB);
  house.keep("one");
  CHECK(house.used() == 6 * kMiB);
  CHECK(house.changed("one") == before);
  CHECK(house.changed("one", "two") == Mebibytes{1});
  house.keep("two");
  CHECK(house.used() == 5 * kMiB);
  CHECK(house.changed("two") == Mebibytes{1, 6});
  house.reopen();
  CHECK(house.changed("one") == before);
  CHECK(house.info("web", "one").kind == NodeInfo::Kind::kChanges);
  CHECK(house.names() == Names{"web", "web@one", "web@two"});
  house.check();
}

TEST_CASE("a bookmark is a point of the tree, nothing else") {
  House house;
  house.fill("web", 'a');
  house.snapshot("web", "one");
  house.snapshot("web", "two");
  house.keep("one");
  const Spec one{"web", "one"};
  for (const auto& [outcome, kind] :
       {std::pair(house.run(house.store->clone(one, "copy")), ErrorKind::kInvalid),
        std::pair(house.run(house.store->set_expiry(one, 0)), ErrorKind::kInvalid),
        std::pair(house.run(house.store->hold(one, "x")), ErrorKind::kInvalid),
        std::pair(house.run(house.store->rename(one, "three")), ErrorKind::kInvalid),
        std::pair(house.run(house.store->keep_changes({one})), ErrorKind::kInvalid)})
    house.refused(outcome, kind, "web@one");
  house.refused(house.run(house.store->rollback({one}, {})), ErrorKind::kInvalid, "no data any more");
  house.refused(house.run(house.store->open_device(one, Access::kReadOnly, {"x"})), ErrorKind::kInvalid,
                "no data");
  house.refused(house.run(house.store->diff({"web", "two"}, one, 0)), ErrorKind::kInvalid, "first side");
  house.refused(house.run(house.store->snapshot({one}, {})), ErrorKind::kExists, "web@one");
  house.refused(house.run(house.store->rename({"web", "two"}, "one")), ErrorKind::kExists, "web@one");
  house.refused(house.run(house.store->keep_changes({{"web", ""}})), ErrorKind::kInvalid, "name snapshots");
  auto nodes = house.run(house.store->tree(std::nullopt));
  REQUIRE(nodes->size() == 3);
  CHECK(nodes->at(0).snapshot == "one");
  CHECK(nodes->at(1).parent == nodes->at(0).id);
  CHECK(nodes->at(2).parent == nodes->at(1).id);
  CHECK(house.run(house.store->space(std::nullopt))->size() == 2);
  {
    auto base = house.run(house.store->open_device(one, Access::kBase, {"a client"}));
    house.require(base);
    AlignedBuffer buffer(4096);
    CHECK_FALSE(house.run((*base)->read(0, buffer.span())).has_value());
    house.refused(house.run(house.store->remove({one}, false)), ErrorKind::kBusy, "a client");
    house.refused(house.run(house.store->trash({{"web", ""}}, true)), ErrorKind::kBusy, "a client");
  }
  house.require(house.run(house.store->remove({one}, false)));
  CHECK(house.names() == Names{"web", "web@two"});
  house.snapshot("web", "one");
}

TEST_CASE("a line that was left behind stays known as long as a bookmark is on it") {
  House house;
  house.fill("web", 'a');
  house.snapshot("web", "base");
  house.fill("web", 'b', 1 * kMiB);
  house.snapshot("web", "side");
  house.require(house.run(house.store->rollback({{"web", "base"}}, {.keep_as = {}, .discard = true})));
  house.fill("web", 'c', 2 * kMiB);
  house.keep("side");
  CHECK(house.used() == 2 * kMiB);
  CHECK(house.changed("side") == Mebibytes{1, 2});
  house.keep("base");
  house.reopen();
  CHECK(house.changed("side") == Mebibytes{1, 2});
  CHECK(house.changed("base") == Mebibytes{2});
  house.check();
  // It takes the line along, and nothing of it stays.
  house.require(house.run(house.store->remove({{"web", "side"}}, false)));
  const std::string dump = *house.run(house.store->dump());
  CHECK(dump.find("bookmark") != std::string::npos);
  house.require(house.run(house.store->remove({{"web", "base"}}, false)));
  house.reopen();
  const std::string after = *house.run(house.store->dump());
  CHECK(after.find("bookmark") == std::string::npos);
  house.check();
}

TEST_CASE("a disk takes its bookmarks to the trash and back, and with its end they end") {
  House house;
  house.fill("web", 'a');
  house.snapshot("web", "one");
  house.keep("one");
  house.fill("web", 'b');
  house.require(house.run(house.store->trash({{"web", ""}}, false)));
  CHECK(house.names().empty());
  house.reopen();
  house.require(house.run(house.store->undelete("web", "")));
  CHECK(house.changed("one") == Mebibytes{0});
  house.require(house.run(house.store->remove({{"web", ""}}, false)));
  CHECK(house.used() == 0);
  CHECK(house.run(house.store->dump())->find("bookmark") == std::string::npos);
  house.check();
}

TEST_CASE("what is held, open or cloned keeps its data") {
  House house;
  house.fill("web", 'a');
  house.snapshot("web", "one");
  const Spec one{"web", "one"};
  house.require(house.run(house.store->hold(one, "audit")));
  house.refused(house.run(house.store->keep_changes({one})), ErrorKind::kBusy, "audit");
  house.require(house.run(house.store->release(one, "")));
  house.require(house.run(house.store->clone(one, "copy")));
  house.refused(house.run(house.store->keep_changes({one})), ErrorKind::kBusy, "copy");
  house.refused(house.run(house.store->diff({"web", "none"}, {"web", ""}, 0)), ErrorKind::kNotFound, "none");
  house.require(house.run(house.store->create_disk("other", kMiB)));
  house.refused(house.run(house.store->diff(one, {"other", ""}, 0)), ErrorKind::kUntracked, "copy in full");
}

}  // namespace
}  // namespace coppice
