// What check says of a block that is not what was written there.
#include "house.h"

using namespace coppice;
using namespace coppice::sim;

TEST_CASE("a damaged block counts while somebody sees it, and not where a dead node alone holds it") {
  const bool head_sees_it = GENERATE(false, true);
  House house(FlushOrder::kOrderFree);
  house.create("disk", false);
  auto device = house.open_disk("disk");
  fill(house, *device, 0, kBlockBytes, 1);
  settle(house, *device);
  const PhysicalBlock block = house.place("disk", 0);
  house.must(house.store().snapshot({{"disk", "s"}}, {}));
  if (!head_sees_it) fill(house, *device, 0, kBlockBytes, 2);
  settle(house, *device);
  CHECK(house.check().problems.empty());
  house.rot(block);
  CHECK(house.check().problems.size() == 1);
  // As while a scrub goes through it: the reclaimer lets it be.
  Tree& tree = house.parts().tree;
  const NodeId node = tree.node(tree.find_disk("disk")->value.head)->value.parent;
  ++tree.node(node)->keeps;
  house.must(house.store().remove({{"disk", "s"}}, false));
  REQUIRE(tree.node(node) != nullptr);
  CHECK(house.check().problems.size() == (head_sees_it ? 1 : 0));
  --tree.node(node)->keeps;
  device.reset();
}
