// Masks move together where snapshots are gone, and no answer changes.
#include <set>

#include "coppice/scheduler.h"
#include "store_fixture.h"

namespace coppice {
namespace {

using test::StoreFixture;

struct House : StoreFixture {
  static constexpr int kSnapshots = 10;
  House() {
    create("web");
    for (int i = 0; i < kSnapshots; ++i) {
      write(i);
      snapshot("web", name(i));
    }
  }
  static std::string name(int i) { return "s" + std::to_string(i); }
  // In each of them a few blocks of two leaves, some of them over again.
  void write(int i) {
    auto device = run(store->open_device({"web", ""}, Access::kReadWrite, {"test"}));
    require(device);
    AlignedBuffer buffer(3 * kBlockBytes);
    std::ranges::fill(buffer.span(), static_cast<std::byte>(i + 1));
    for (const int block : {5 * i, 200 - 2 * i})
      REQUIRE(run((*device)->write(static_cast<std::uint64_t>(block) * kBlockBytes, buffer.span(), {})));
  }
  void remove(const std::string& snapshot) { require(run(store->remove({{"web", snapshot}}, false))); }
  // Of all branches.
  std::size_t epochs_with_masks() {
    const auto text = run(store->dump());
    require(text);
    std::set<std::string> epochs;
    for (std::size_t at = text->find("change branch="); at != std::string::npos;
         at = text->find("change branch=", at + 1))
      epochs.insert(text->substr(at, text->find(" leaf=", at) - at));
    return epochs.size();
  }
  // Each look makes a checkpoint, behind which they may go.
  bool come_to(std::size_t epochs) {
    for (int i = 0; i < 200 && epochs_with_masks() != epochs; ++i) run(pause());
    return epochs_with_masks() == epochs;
  }
  Task<void> pause() { co_await sleep_for(*reactor, std::chrono::milliseconds(50)); }
  std::vector<std::string> diff(const Spec& from, const Spec& to) {
    auto ranges = run(store->diff(from, to, 0));
    require(ranges);
    std::vector<std::string> told;
    for (const DiffRange& each : *ranges)
      told.push_back(std::to_string(each.offset_bytes) + "+" + std::to_string(each.length_bytes));
    REQUIRE_FALSE(told.empty());
    return told;
  }
  std::vector<std::vector<std::string>> answers() {
    return {diff({"web", "s0"}, {"web", "s9"}), diff({"web", "s0"}, {"web", "s5"}),
            diff({"web", "s3"}, {"web", "s5"}), diff({"web", "s3"}, {"web", "s9"}),
            diff({"copy", ""}, {"web", "s9"}),  diff({"web", "s5"}, {"web", ""})};
  }
};

TEST_CASE("masks of which nobody can tell the epochs apart stand at one") {
  House house;
  house.require(house.run(house.store->keep_changes({{"web", "s3"}})));
  house.require(house.run(house.store->clone({"web", "s5"}, "copy")));
  const auto before = house.answers();
  CHECK(house.epochs_with_masks() == House::kSnapshots);
  for (const int i : {1, 2, 4, 6, 7, 8}) house.remove(House::name(i));
  // s0, the bookmark, s5 and s9.
  REQUIRE(house.come_to(4));
  CHECK(house.answers() == before);
  // A bookmark is a point as long as it is there.
  house.remove("s3");
  REQUIRE(house.come_to(3));
  house.check();
}

TEST_CASE("masks that an earlier life left are folded at the next open") {
  House house;
  for (const int i : {2, 3, 4, 5, 6, 7, 8}) house.remove(House::name(i));
  house.reopen();
  CHECK(house.epochs_with_masks() >= 3);
  REQUIRE(house.come_to(3));
  CHECK(house.diff({"web", "s1"}, {"web", "s9"}).size() >= 2);
}

}  // namespace
}  // namespace coppice
