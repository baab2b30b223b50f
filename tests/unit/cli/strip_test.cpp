#include <catch2/catch.hpp>

#include "cli/heat_strip.h"
#include "cli/selection.h"

namespace coppice::cli {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

std::string strip(const std::vector<DiffRange>& ranges, std::uint64_t size_bytes, std::size_t columns,
                  bool unicode = false) {
  return draw_strip(ranges, size_bytes, {columns, unicode});
}

TEST_CASE("a strip is as wide as is asked for, and fuller where more has changed") {
  CHECK(strip({}, 8 * kMiB, 10) == "[        ]\n0 B of 8.0 MiB in 0 ranges; a column is 1.0 MiB\n");
  CHECK(strip({{0, 4096}, {3 * kMiB, kMiB / 2}, {6 * kMiB, 2 * kMiB}}, 8 * kMiB, 10) ==
        "[.  =  @@]\n2.5 MiB of 8.0 MiB in 3 ranges; a column is 1.0 MiB\n");
  CHECK(strip({{kMiB - 4096, 8192}}, 8 * kMiB, 10, true)
            .starts_with("▕▁▁      ▏\n8.0 KiB of 8.0 MiB in 1 range;"));
  CHECK(strip({{0, 8 * kMiB}}, 8 * kMiB, 10, true).starts_with("▕████████▏\n"));
}

TEST_CASE("a strip of a disk smaller than the terminal, of an odd end, and of a disk that shrank") {
  CHECK(strip({{4096, 512}}, 4096 + 512, 80).starts_with("[ @]\n"));
  CHECK(strip({{0, 100 * kMiB}}, kMiB, 10).starts_with("[@@@@@@@@]\n1.0 MiB of 1.0 MiB"));
  CHECK(strip({{0, std::uint64_t{1} << 54}}, std::uint64_t{1} << 54, 4).starts_with("[@@@@@@@@]\n"));
  CHECK(strip({}, 0, 80).starts_with("[]\n"));
}

TEST_CASE("ranges of snapshots") {
  const auto whole = parse_selection("web@a%b");
  REQUIRE(whole.has_value());
  CHECK(whole->is_range);
  CHECK(whole->first == Spec{"web", "a"});
  CHECK(whole->last == Spec{"web", "b"});
  CHECK(parse_selection("web@%b")->first == Spec{"web", ""});
  CHECK(parse_selection("web@a%")->last == Spec{"web", ""});
  CHECK(parse_selection("web@%")->is_range);
  CHECK_FALSE(parse_selection("web@a")->is_range);
  CHECK_FALSE(parse_selection("web")->is_range);
  for (const char* bad : {"web%a", "web%", "%", "@%", "web@a%b%c", "web@a%-b", "web@a%web@b", "-web@a%b", ""})
    CHECK_FALSE(parse_selection(bad).has_value());
}

}  // namespace
}  // namespace coppice::cli
