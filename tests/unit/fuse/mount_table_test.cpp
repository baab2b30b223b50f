#include "fuse/mount_table.h"

#include <catch2/catch.hpp>

using namespace coppice::fuse;

namespace {
constexpr const char* kPlain = "36 35 98:0 / /mnt/a rw,noatime master:1 - ext4 /dev/root rw,errors=continue";
constexpr const char* kOurs =
    "99 35 0:45 / /mnt/with\\040blank\\134 rw,nosuid,nodev - fuse.coppice /var/lib/cop\\040pice rw,user_id=0";
}  // namespace

TEST_CASE("a line of mountinfo") {
  const auto plain = parse_mount(kPlain);
  REQUIRE(plain.has_value());
  CHECK(plain->directory == "/mnt/a");
  CHECK(plain->type == "ext4");
  CHECK(plain->source == "/dev/root");
  CHECK_FALSE(is_coppice(*plain));
  const auto ours = parse_mount(kOurs);
  REQUIRE(ours.has_value());
  CHECK(ours->directory == "/mnt/with blank\\");
  CHECK(ours->source == "/var/lib/cop pice");
  CHECK(is_coppice(*ours));
}

TEST_CASE("what is no line of mountinfo") {
  for (const char* line : {"", "36 35 98:0 /", "36 35 98:0 / /mnt rw master:1 ext4 /dev/root rw",
                           "1 2 3 - a b", "36 35 98:0 / /mnt rw - ext4"})
    CHECK_FALSE(parse_mount(line).has_value());
}

TEST_CASE("the topmost mount of a directory counts") {
  const std::vector<MountEntry> mounts{{"/a", "ext4", "x"}, {"/a", "fuse.coppice", "y"}, {"/b", "xfs", "z"}};
  CHECK(mount_on(mounts, "/a")->source == "y");
  CHECK(mount_on(mounts, "/b")->source == "z");
  CHECK_FALSE(mount_on(mounts, "/c").has_value());
}
