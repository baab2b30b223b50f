#include <catch2/catch.hpp>

#include "cli/files/changed_ranges.h"
#include "cli/files/guest_path.h"
#include "cli/files/volumes.h"

using namespace coppice;
using namespace coppice::cli;

TEST_CASE("a place in a snapshot") {
  const auto place = parse_place("web:1@mon:2:/etc/a:/b");
  REQUIRE(place.has_value());
  CHECK(place->snapshot.disk == "web:1");
  CHECK(place->snapshot.snapshot == "mon:2");
  CHECK(place->path == "/etc/a:/b");
  CHECK(parse_place("web@mon")->path.empty());
  for (const char* wrong : {"web", "web:/etc", "web@", "web@mon/etc", "@mon:/x", ""})
    CHECK_FALSE(parse_place(wrong));
}

TEST_CASE("names are shown on one line") {
  CHECK(shown("plain é 漢 😀") == "plain é 漢 😀");
  CHECK(shown("a\nb\\c\x7f") == "a\\012b\\134c\\177");
  CHECK(shown("\xff\xc3(") == "\\377\\303(");
  CHECK(shown("\xc0\x80 \xed\xa0\x80 \xe0\x80\x80 \xf5\x80\x80\x80 \xc2\x9b") ==
        "\\300\\200 \\355\\240\\200 \\340\\200\\200 \\365\\200\\200\\200 \\302\\233");
  CHECK(shown("cut \xe6\xbc") == "cut \\346\\274");
}

TEST_CASE("a path is split at its last name") {
  const auto split = [](const char* path) {
    const Entry entry = split_path(path);
    return entry.folder + "|" + entry.name;
  };
  CHECK(split("/etc/fstab") == "/etc/|fstab");
  CHECK(split("/etc/nginx//") == "/etc/|nginx");
  CHECK(split("/") == "/|.");
  CHECK(split("/a/..") == "/a/..|.");
}

TEST_CASE("changed ranges are asked by place in the volume") {
  const ChangedRanges changed({{0, 4096}, {8192, 4096}, {20480, 8192}}, {8192, 16384});
  CHECK_FALSE(changed.empty());
  const auto all = changed.within({0, 1 << 20});
  REQUIRE(all.size() == 2);
  CHECK((all[0].offset_bytes == 0 && all[0].length_bytes == 4096));
  CHECK((all[1].offset_bytes == 12288 && all[1].length_bytes == 4096));
  CHECK(changed.within({4096, 8192}).empty());
  const auto part = changed.within({4095, 8194});
  REQUIRE(part.size() == 2);
  CHECK((part[0].offset_bytes == 4095 && part[0].length_bytes == 1));
  CHECK((part[1].offset_bytes == 12288 && part[1].length_bytes == 1));
  CHECK(ChangedRanges({{0, 4096}}, {8192, 4096}).empty());
}

TEST_CASE("the largest file system is taken, or the one that is asked for") {
  const std::vector<Volume> volumes{
      {.partition = 1, .length_bytes = 10, .type = "vfat", .file_system = true},
      {.partition = 2, .length_bytes = 99, .type = "swap"},
      {.partition = 3, .length_bytes = 50, .type = "ext4", .file_system = true}};
  CHECK(choose_volume(volumes, "", "d@s")->partition == 3);
  CHECK(choose_volume(volumes, "1", "d@s")->partition == 1);
  CHECK_FALSE(choose_volume(volumes, "4", "d@s"));
  CHECK_FALSE(choose_volume({volumes[1]}, "", "d@s"));
  const Volume lvm{.partition = 2, .type = "LVM2_member"};
  CHECK_THAT(choose_volume({lvm}, "", "d@s").error().message, Catch::Contains("--device"));
  CHECK_THAT(choose_volume({lvm}, "2", "d@s").error().message, Catch::Contains("--device"));
}
