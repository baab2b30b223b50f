#include "fuse/time_name.h"

#include <catch2/catch.hpp>

using namespace coppice::fuse;

TEST_CASE("a name by time has the second in UTC and the snapshot's name") {
  CHECK(time_name(1795341600000, "before-upgrade") == "2026-11-22T10:00:00Z-before-upgrade");
  CHECK(time_name(1795341600999, "x") == "2026-11-22T10:00:00Z-x");
  CHECK(time_name(0, "first") == "1970-01-01T00:00:00Z-first");
  CHECK(time_name(-1, "before") == "1969-12-31T23:59:59Z-before");
}

TEST_CASE("the snapshot's name is read back, whatever it holds") {
  for (const char* name : {"a", "before-upgrade", "2026-11-22T10:00:00Z-x", "auto-2026-11-25T23:00Z"})
    CHECK(snapshot_of_time_name(time_name(1795341600000, name)) == name);
}

TEST_CASE("what is no such name") {
  for (const char* name : {"", "x", "2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z-",
                           "2026-11-22T10:00:00X-name", "2026-11-22T10:00:00Zname"})
    CHECK(snapshot_of_time_name(name).empty());
}
