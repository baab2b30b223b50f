#include "fuse/inode.h"

#include <catch2/catch.hpp>
#include <set>

using namespace coppice::fuse;
using Kind = Inode::Kind;

TEST_CASE("the root has the number that the kernel gives it") {
  CHECK(number_of({Kind::kRoot}) == 1);
}

TEST_CASE("every inode has a number of its own, and is found by it") {
  std::set<std::uint64_t> numbers;
  const auto check = [&numbers](const Inode& inode) {
    CHECK(numbers.insert(number_of(inode)).second);
    CHECK(inode_of(number_of(inode)) == inode);
  };
  for (const Kind kind : {Kind::kRoot, Kind::kDisks, Kind::kSnapshots, Kind::kByTime}) check({kind});
  for (const Kind kind : {Kind::kSnapshotsOf, Kind::kByTimeOf, Kind::kFile, Kind::kLink}) {
    for (const std::uint64_t id : {0UL, 1UL, 2UL, 1000UL, 1UL << 60U}) check({kind, id});
  }
}

TEST_CASE("numbers that nothing has") {
  for (const std::uint64_t number : {0UL, 5UL, 6UL, 7UL}) CHECK_FALSE(inode_of(number).has_value());
}

TEST_CASE("names keep their ids") {
  NameTable names;
  const auto web = names.id_of("web");
  const auto db = names.id_of("db");
  CHECK(web != db);
  CHECK(names.id_of("web") == web);
  CHECK(names.name_of(web) == "web");
  CHECK(names.name_of(db) == "db");
  CHECK(names.name_of(77).empty());
}
