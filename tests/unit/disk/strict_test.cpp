// Strict disks.
#include <catch2/catch.hpp>
#include <functional>
#include <set>

#include "house.h"

using namespace coppice;
using namespace coppice::sim;

namespace {

constexpr std::uint64_t kDiskBytes = House::kDiskBytes;

struct Write {
  const char* what;
  std::function<void(House&, BlockDevice&)> make;
};

const std::vector<Write>& all_writes() {
  static const std::vector<Write> kWrites = {
      {"a block", [](House& house, BlockDevice& device) { fill(house, device, 0, kBlockBytes, 2); }},
      {"a sector", [](House& house, BlockDevice& device) { fill(house, device, 512, 512, 3); }},
      {"zeroes that keep their space",
       [](House& house, BlockDevice& device) {
         house.must(device.write_zeroes(0, kBlockBytes, ZeroFlags{.no_hole = true}));
       }},
      {"a sector again", [](House& house, BlockDevice& device) { fill(house, device, 512, 512, 5); }},
      {"zeroes in a part of a block",
       [](House& house, BlockDevice& device) { house.must(device.write_zeroes(512, 512, ZeroFlags{})); }},
      {"a write through",
       [](House& house, BlockDevice& device) {
         const AlignedBuffer data(kBlockBytes);
         const std::span<const std::byte> bytes = data.first(kBlockBytes);
         house.must(device.write(0, bytes, WriteFlags{.force_unit_access = true}));
       }},
  };
  return kWrites;
}

}  // namespace

TEST_CASE("a strict disk puts every overwrite elsewhere, without a mark or a slot; another disk in place") {
  for (const bool strict : {true, false}) {
    CAPTURE(strict);
    House house(FlushOrder::kConservative);
    house.create("disk", strict);
    auto device = house.open_disk("disk");
    fill(house, *device, 0, 4 * kBlockBytes, 1);
    settle(house, *device);
    std::size_t slots = 0;
    house.look = [&] { slots = std::max(slots, house.slots().size()); };
    for (const Write& write : all_writes()) {
      CAPTURE(write.what);
      const PhysicalBlock before = house.place("disk", 0);
      write.make(house, *device);
      CHECK((house.place("disk", 0) == before) == !strict);
      settle(house, *device);
    }
    CHECK(house.any_mark() == !strict);
    CHECK((slots != 0) == !strict);
    house.look = [] {};
    device.reset();
  }
}

TEST_CASE("records of a strict disk are staged early too; their slots name fresh blocks only") {
  House house(FlushOrder::kOrderFree);
  house.create("disk", true);
  auto device = house.open_disk("disk");
  fill(house, *device, 0, kBlockBytes, 1);
  settle(house, *device);
  std::set<std::uint64_t> mapped;
  bool early = false;
  bool over_mapped = false;
  house.look = [&] {
    const std::set<std::uint64_t> slots = house.slots();
    early = early || !slots.empty();
    for (const std::uint64_t block : slots) over_mapped = over_mapped || mapped.contains(block);
  };
  for (int byte = 2; byte < 12; ++byte) {
    const PhysicalBlock before = house.place("disk", 0);
    mapped = {before.value};
    fill(house, *device, 0, kBlockBytes, byte);
    house.must(device->flush());
    CHECK(house.place("disk", 0) != before);
  }
  CHECK(early);
  CHECK_FALSE(over_mapped);
  CHECK_FALSE(house.any_mark());
  CHECK(house.slots().empty());
  house.look = [] {};
  device.reset();
}

TEST_CASE("the policy is the disk's: clones have it, a rollback, a new name and a restart keep it") {
  House house(FlushOrder::kOrderFree);
  house.create("disk", true);
  house.create("other", false);
  house.must(house.store().snapshot({{"disk", "one"}, {"other", "one"}}, {}));
  house.must(house.store().clone({"disk", "one"}, "clone"));
  house.must(house.store().clone({"other", "one"}, "plain"));
  house.must(house.store().rollback({{"disk", "one"}}, {}));
  house.must(house.store().rename({"disk", ""}, "named"));
  house.must(house.store().resize("named", 2 * kDiskBytes));
  for (int round = 0; round < 2; ++round) {
    CHECK(house.strict("named"));
    CHECK(house.strict("clone"));
    CHECK_FALSE(house.strict("other"));
    CHECK_FALSE(house.strict("plain"));
    house.reopen();
  }
  CHECK_FALSE(house.must(house.store().info({"named", "one"})).policy.strict);
}

TEST_CASE("the policy is changed while nobody has the disk open, and holds for the next who does") {
  House house(FlushOrder::kConservative);
  house.create("disk", false);
  auto device = house.open_disk("disk");
  const auto refused = house.run(house.store().set_policy("disk", DiskPolicy{.strict = true}));
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().kind == ErrorKind::kBusy);
  CHECK(refused.error().message.find("the test") != std::string::npos);
  // What is so already is no change.
  house.must(house.store().set_policy("disk", DiskPolicy{.strict = false}));
  CHECK(house.run(house.store().set_policy("none", DiskPolicy{})).error().kind == ErrorKind::kNotFound);
  for (const bool strict : {true, false, true}) {
    device.reset();
    house.must(house.store().set_policy("disk", DiskPolicy{.strict = strict}));
    CHECK(house.strict("disk") == strict);
    device = house.open_disk("disk");
    fill(house, *device, 0, kBlockBytes, 1);
    settle(house, *device);
    const PhysicalBlock before = house.place("disk", 0);
    fill(house, *device, 0, kBlockBytes, 2);
    CHECK((house.place("disk", 0) == before) == !strict);
  }
  device.reset();
}
