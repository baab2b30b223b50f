// How far back what a disk sees was written: layers between snapshots.
#include "store_fixture.h"

using namespace coppice;
using coppice::test::StoreFixture;

namespace {

constexpr std::uint64_t kBlock = kBlockBytes;
using Depths = std::vector<std::pair<std::uint64_t, std::uint32_t>>;  // in blocks

class LayersFixture : public StoreFixture {
 public:
  LayersFixture() { create("disk"); }
  std::unique_ptr<BlockDevice> device(const std::string& disk, const std::string& snapshot = "") {
    const auto access = snapshot.empty() ? Access::kReadWrite : Access::kReadOnly;
    auto opened = run(store->open_device({disk, snapshot}, access, {"a test"}));
    require(opened);
    return std::move(*opened);
  }
  void write(const std::string& disk, std::uint64_t first, std::uint64_t count) {
    const auto open = device(disk);
    AlignedBuffer data(count * kBlock);
    std::ranges::fill(data.span(), std::byte{0x5a});
    const std::span<const std::byte> from = data.span();
    REQUIRE(this->run(open->write(first * kBlock, from, {})));
  }
  Depths depths(const std::string& disk, const std::string& snapshot = "", std::size_t most = 100) {
    const auto open = device(disk, snapshot);
    std::vector<Extent> found;
    REQUIRE(this->run(open->layers(0, 16 * kBlock, most, found)));
    Depths answer;
    for (const Extent& each : found) {
      CHECK(each.allocated == (each.depth != 0));
      answer.emplace_back(each.length_bytes / kBlock, each.depth);
    }
    return answer;
  }
};

}  // namespace

TEST_CASE_METHOD(LayersFixture, "depth counts the snapshots that have a block too") {
  CHECK(depths("disk") == Depths{{16, 0}});
  write("disk", 0, 8);
  CHECK(depths("disk") == Depths{{8, 1}, {8, 0}});
  snapshot("disk", "one");
  CHECK(depths("disk") == Depths{{8, 2}, {8, 0}});
  write("disk", 2, 2);
  snapshot("disk", "two");
  write("disk", 8, 4);
  CHECK(depths("disk") == Depths{{2, 3}, {2, 2}, {4, 3}, {4, 1}, {4, 0}});
  CHECK(depths("disk", "", 2) == Depths{{2, 3}, {2, 2}});
  CHECK(depths("disk", "two") == Depths{{2, 2}, {2, 1}, {4, 2}, {8, 0}});
  CHECK(depths("disk", "one") == Depths{{8, 1}, {8, 0}});
  reopen();
  CHECK(depths("disk") == Depths{{2, 3}, {2, 2}, {4, 3}, {4, 1}, {4, 0}});
  // Whether it is there or not is told alike, and not cut by depth.
  const auto open = device("disk");
  std::vector<Extent> plain;
  REQUIRE(run(open->extents(0, 16 * kBlock, 100, plain)));
  CHECK(plain.size() == 2);
}

TEST_CASE_METHOD(LayersFixture, "removing a snapshot makes one layer of two") {
  write("disk", 0, 4);
  snapshot("disk", "one");
  write("disk", 4, 4);
  snapshot("disk", "two");
  CHECK(depths("disk") == Depths{{4, 3}, {4, 2}, {8, 0}});
  require(run(store->remove({{"disk", "two"}}, false)));
  CHECK(depths("disk") == Depths{{4, 2}, {4, 1}, {8, 0}});
}

TEST_CASE_METHOD(LayersFixture,
                 "what a clone and a disk that went back have from their snapshot lies behind them") {
  write("disk", 0, 4);
  snapshot("disk", "one");
  write("disk", 0, 1);
  require(run(store->clone({"disk", "one"}, "copy")));
  CHECK(depths("copy") == Depths{{4, 2}, {12, 0}});
  write("copy", 6, 2);
  CHECK(depths("copy") == Depths{{4, 2}, {2, 0}, {2, 1}, {8, 0}});
  require(run(store->rollback({{"disk", "one"}}, {})));
  CHECK(depths("disk") == Depths{{4, 2}, {12, 0}});
}

TEST_CASE_METHOD(LayersFixture, "what is discarded has no depth") {
  write("disk", 0, 8);
  snapshot("disk", "one");
  {
    const auto open = device("disk");
    REQUIRE(run(open->discard(2 * kBlock, 2 * kBlock, {})));
  }
  CHECK(depths("disk") == Depths{{2, 2}, {2, 0}, {4, 2}, {8, 0}});
}
