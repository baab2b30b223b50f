// What a disk may take of the pool.
#include "store_fixture.h"

namespace coppice {
namespace {

using test::StoreFixture;
constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

struct House : StoreFixture {
  House() { require(run(store->create_disk("web", 64 * kMiB))); }
  void quota(std::uint64_t bytes, const std::string& disk = "web") {
    require(run(store->set_quota(disk, bytes)));
  }
  std::uint64_t charged(const std::string& disk = "web") {
    return info(disk).quota.charged_bytes.value_or(~0ULL);
  }
  // Whether a megabyte could be written.
  bool writes(const std::string& disk, std::uint64_t mebibyte, char value = 'x', std::uint64_t bytes = kMiB) {
    auto device = run(store->open_device({disk, ""}, Access::kReadWrite, {"test"}));
    require(device);
    AlignedBuffer buffer(bytes);
    std::ranges::fill(buffer.span(), static_cast<std::byte>(value));
    auto written = run((*device)->write(mebibyte * kMiB, buffer.span(), WriteFlags{}));
    if (!written) CHECK(written.error().kind == ErrorKind::kNoSpace);
    return written.has_value();
  }
  void discard(const std::string& disk, std::uint64_t mebibyte) {
    auto device = run(store->open_device({disk, ""}, Access::kReadWrite, {"test"}));
    require(device);
    REQUIRE(run((*device)->discard(mebibyte * kMiB, kMiB, WriteFlags{})).has_value());
    REQUIRE(run((*device)->flush()).has_value());
  }
};

TEST_CASE("a disk writes up to its quota, to the block, and no others are told") {
  House house;
  house.create("db");
  house.quota(4 * kMiB);
  CHECK(house.charged() == 0);
  for (std::uint64_t at = 0; at < 4; ++at) CHECK(house.writes("web", at));
  CHECK(house.charged() == 4 * kMiB);
  CHECK_FALSE(house.writes("web", 5));
  CHECK_FALSE(house.writes("web", 5, 'x', 4096));
  CHECK(house.writes("web", 2, 'y'));
  CHECK(house.writes("db", 0));
  house.discard("web", 1);
  CHECK(house.charged() == 3 * kMiB);
  CHECK_FALSE(house.writes("web", 8, 'x', kMiB + 4096));
  CHECK(house.writes("web", 5));
  CHECK_FALSE(house.writes("web", 6, 'x', 4096));
  house.quota(5 * kMiB);
  CHECK(house.writes("web", 6));
  house.quota(0);
  CHECK(house.writes("web", 7));
  CHECK_FALSE(house.info("web").quota.charged_bytes.has_value());
  house.check();
}

TEST_CASE("what snapshots hold counts, until they are gone") {
  House house;
  house.quota(4 * kMiB);
  CHECK(house.writes("web", 0, 'a'));
  CHECK(house.writes("web", 1, 'a'));
  house.snapshot("web", "one");
  CHECK(house.writes("web", 0, 'b'));
  CHECK(house.writes("web", 1, 'b'));
  CHECK_FALSE(house.writes("web", 2));
  house.snapshot("web", "two");
  CHECK_FALSE(house.writes("web", 0, 'c', 4096));
  house.discard("web", 0);
  CHECK(house.charged() == 4 * kMiB);
  // The writer waits for what is on its way back.
  house.require(house.run(house.store->remove({{"web", "one"}}, false)));
  CHECK(house.writes("web", 2));
  house.require(house.run(house.store->wait_for_reclaim()));
  CHECK(house.charged() == 3 * kMiB);
  house.require(house.run(house.store->remove({{"web", "two"}}, false)));
  house.require(house.run(house.store->wait_for_reclaim()));
  CHECK(house.charged() == 2 * kMiB);
  house.check();
}

TEST_CASE("a quota is kept, and counted anew, when the store is opened again") {
  House house;
  CHECK(house.writes("web", 0));
  CHECK(house.writes("web", 1));
  house.snapshot("web", "one");
  CHECK(house.writes("web", 1, 'b'));
  house.quota(4 * kMiB);
  CHECK(house.charged() == 3 * kMiB);
  house.reopen();
  CHECK(house.info("web").quota.limit_bytes == 4 * kMiB);
  CHECK_FALSE(house.info("web").quota.charged_bytes.has_value());
  CHECK(house.writes("web", 2));
  CHECK(house.charged() == 4 * kMiB);
  CHECK_FALSE(house.writes("web", 3));
  // Less than there is: nothing more, but what is there can be written over and given back.
  house.quota(kMiB);
  CHECK(house.writes("web", 2, 'c'));
  CHECK_FALSE(house.writes("web", 3, 'x', 4096));
  house.discard("web", 2);
  CHECK(house.charged() == 3 * kMiB);
}

TEST_CASE("a clone has what was written to it; what it stands on is its origin's") {
  House house;
  house.quota(8 * kMiB);
  CHECK(house.writes("web", 0, 'a'));
  house.snapshot("web", "one");
  house.require(house.run(house.store->clone({"web", "one"}, "copy")));
  CHECK(house.info("copy").quota.limit_bytes == 0);
  house.quota(kMiB, "copy");
  CHECK(house.charged("copy") == 0);
  CHECK(house.writes("copy", 0, 'b'));
  CHECK_FALSE(house.writes("copy", 1, 'b', 4096));
  CHECK(house.charged("copy") == kMiB);
  CHECK(house.charged() == kMiB);
  CHECK(house.writes("web", 0, 'c'));
  CHECK(house.charged() == 2 * kMiB);
  // Both go in one, and the sweep of one frees what the other's head wrote.
  house.require(house.run(house.store->remove({{"copy", ""}, {"web", "one"}}, false)));
  house.require(house.run(house.store->wait_for_reclaim()));
  CHECK(house.charged() == kMiB);
  house.refused(house.run(house.store->set_quota("copy", kMiB)), ErrorKind::kNotFound, "copy");
}

TEST_CASE("a disk that somebody writes gets a quota") {
  House house;
  auto device = house.run(house.store->open_device({"web", ""}, Access::kReadWrite, {"test"}));
  house.require(device);
  AlignedBuffer buffer(kMiB);
  REQUIRE(house.run((*device)->write(0, buffer.span(), WriteFlags{})).has_value());
  house.quota(2 * kMiB);
  CHECK(house.charged() == kMiB);
  REQUIRE(house.run((*device)->write(kMiB, buffer.span(), WriteFlags{})).has_value());
  CHECK_FALSE(house.run((*device)->write(2 * kMiB, buffer.span(), WriteFlags{})).has_value());
  device->reset();
}

}  // namespace
}  // namespace coppice
