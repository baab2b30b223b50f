// The cache's table: what was put in is found, whatever the order in which others come and go.
#include "map/leaf_cache.h"

#include <catch2/catch.hpp>
#include <cstdint>
#include <map>
#include <random>
#include <tuple>

namespace coppice {
namespace {

constexpr std::size_t kSmall = 1;                       // 64 slots, which grow
constexpr std::size_t kNoLimit = std::size_t{1} << 26;  // room for all without growing

using Place = std::tuple<std::uint64_t, std::uint64_t>;  // branch and leaf

struct Table {
  explicit Table(std::size_t limit_bytes) : cache(limit_bytes) {}

  Entry* insert(Place place, std::uint64_t version) {
    auto made = cache.make();
    made->branch = BranchId{std::get<0>(place)};
    made->index = LeafIndex{std::get<1>(place)};
    made->version = Epoch{version};
    made->valid_to = kForever;
    return cache.insert(std::move(made));
  }
  [[nodiscard]] Entry* find(Place place, std::uint64_t epoch = 100) const {
    return cache.covering({BranchId{std::get<0>(place)}, Epoch{epoch}}, LeafIndex{std::get<1>(place)});
  }

  LeafCache cache;
};

// Neighbours, leaves a power of two apart as a file system's groups are, and few that collide with either.
Place some_place(std::mt19937_64& random) {
  const std::uint64_t branch = random() % 3;
  switch (random() % 3) {
    case 0:
      return {branch, random() % 200};
    case 1:
      return {branch, random() % 60 * 512};
    default:
      return {branch, random() % 8 << (random() % 40)};
  }
}

void come_and_go(std::size_t limit_bytes, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Table table(limit_bytes);
  std::map<Place, Entry*> there;
  for (int step = 0; step < 6000; ++step) {
    const Place place = some_place(random);
    const auto found = there.find(place);
    if (found == there.end()) {
      there[place] = table.insert(place, 1);
    } else if (random() % 2 == 0) {
      table.cache.remove(found->second);
      there.erase(found);
    }
    if (step % 50 != 0) continue;
    for (const auto& [each, entry] : there) REQUIRE(table.find(each) == entry);
    for (int other = 0; other < 20; ++other) {
      const Place missing = some_place(random);
      REQUIRE((table.find(missing) != nullptr) == there.contains(missing));
    }
  }
}

TEST_CASE("entries are found, and only those, while others come and go") {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    come_and_go(kSmall, seed);
    come_and_go(kNoLimit, seed);
  }
}

TEST_CASE("leaves a power of two apart, more than a row of groups has room for, all find a slot") {
  Table table(kSmall);
  for (std::uint64_t i = 0; i < 3000; ++i) table.insert({0, i << 20}, 1);
  for (std::uint64_t i = 0; i < 3000; ++i) REQUIRE(table.find({0, i << 20}) != nullptr);
}

TEST_CASE(
    "an older epoch is answered by an older version, a newer one by the newest, an erased one by none") {
  Table table(kNoLimit);
  const Place place{1, 77};
  Entry* older = table.insert(place, 3);
  older->valid_to = Epoch{8};
  Entry* newest = table.insert(place, 9);
  CHECK(table.find(place, 2) == nullptr);
  CHECK(table.find(place, 3) == older);
  CHECK(table.find(place, 8) == older);
  CHECK(table.find(place, 9) == newest);
  CHECK(table.find(place, 100) == newest);
  newest->erased = true;
  CHECK(table.find(place, 100) == nullptr);  // the older one ends before
  older->valid_to = kForever;
  CHECK(table.find(place, 100) == older);
}

}  // namespace
}  // namespace coppice
