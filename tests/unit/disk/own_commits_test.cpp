// When the engine makes durable what no guest asked it to.
#include <catch2/catch.hpp>

#include "house.h"

using namespace coppice;
using namespace coppice::sim;
using namespace std::chrono_literals;

namespace {

// A guest that writes in place for `length` and never flushes, on a device that flushes for `flush`.
int own_commits(std::chrono::nanoseconds flush, std::chrono::nanoseconds length) {
  House house(FlushOrder::kOrderFree);
  house.create("disk", false);
  auto device = house.open_disk("disk");
  fill(house, *device, 0, kBlockBytes, 1);
  settle(house, *device);
  const auto end = house.now() + length;
  std::uint64_t durable = house.parts().journal.durable();
  int commits = 0;
  house.look = [&] {
    house.disk().stall_next_sync = flush;
    const std::uint64_t now_durable = house.parts().journal.durable();
    if (now_durable != durable) ++commits;
    durable = now_durable;
  };
  while (house.now() < end) {
    fill(house, *device, 0, kBlockBytes, 2);
    const auto next = house.now() + 100ms;
    while (house.now() < next) house.step();
  }
  house.look = [] {};
  return commits;
}

}  // namespace

TEST_CASE("a device that flushes quickly is asked each second") {
  const int commits = own_commits(1ms, 20s);
  CHECK(commits >= 17);
  CHECK(commits <= 20);
}

TEST_CASE("one that takes long is asked less often: no more than a 32nd of its time") {
  const int commits = own_commits(100ms, 28s);
  CHECK(commits >= 7);
  CHECK(commits <= 9);
}

TEST_CASE("but within ten seconds it is") {
  const int commits = own_commits(2s, 28s);
  CHECK(commits >= 2);
  CHECK(commits <= 3);
}
