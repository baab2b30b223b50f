#include "coppice/result.h"

#include <catch2/catch.hpp>
#include <cerrno>
#include <set>

using namespace coppice;

TEST_CASE("every kind has a stable name that leads back to it, and an errno") {
  std::set<std::string> names;
  for (int value = 1; value <= 9; ++value) {
    const auto kind = static_cast<ErrorKind>(value);
    CHECK(kind_from_name(kind_name(kind)) == kind);
    names.insert(kind_name(kind));
    CHECK(errno_of({kind, 0, ""}) != 0);
  }
  CHECK(names == std::set<std::string>{"invalid", "not-found", "exists", "busy", "no-space", "io", "corrupt",
                                       "unsupported", "read-only"});
  CHECK(kind_from_name("from-the-future") == ErrorKind::kIo);
}

TEST_CASE("a client is told the errno of the kind, not of some call inside") {
  CHECK(errno_of({ErrorKind::kNoSpace, 0, ""}) == ENOSPC);
  CHECK(errno_of({ErrorKind::kIo, EAGAIN, ""}) == EIO);
  CHECK(errno_of({ErrorKind::kCorrupt, 0, ""}) == EIO);
  CHECK(errno_of({ErrorKind::kReadOnly, EBADF, ""}) == EPERM);
}

TEST_CASE("a failure keeps the kind and puts the object in front") {
  const Outcome<> refused = refuse(Error{ErrorKind::kBusy, EBUSY, "in use"}, "pool0.img");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().kind == ErrorKind::kBusy);
  CHECK(refused.error().message == "pool0.img: in use");
}
