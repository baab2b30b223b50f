#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <thread>

#include "cli/event_hook.h"
#include "cli/fullness.h"

namespace coppice::cli {
namespace {

using Levels = std::vector<unsigned>;

TEST_CASE("a level is told of once, and again only when it was left behind") {
  LowSpace low({80, 90, 95});
  CHECK_FALSE(low.look(79).has_value());
  CHECK(low.look(80)->level == 80);
  for (const unsigned percent : {80U, 81U, 79U, 78U, 89U}) CHECK_FALSE(low.look(percent).has_value());
  const auto higher = low.look(97);
  CHECK(higher->level == 95);
  CHECK(higher->worse);
  CHECK_FALSE(low.look(93).has_value());
  const auto lower = low.look(92);
  CHECK(lower->level == 90);
  CHECK_FALSE(lower->worse);
  CHECK(low.look(95)->worse);
  const auto none = low.look(10);
  CHECK(none->level == 0);
  CHECK_FALSE(none->worse);
  CHECK(low.look(80)->worse);
  LowSpace off({});
  CHECK_FALSE(off.look(100).has_value());
}

TEST_CASE("levels are per cents that rise") {
  CHECK(*parse_levels("90") == Levels{90});
  CHECK(*parse_levels("1,50,100") == Levels{1, 50, 100});
  CHECK(parse_levels("off")->empty());
  for (const char* bad : {"", "0", "101", "90,80", "90,90", "80,", ",80", "80 90", "-1", "x", "80,off"})
    CHECK_FALSE(parse_levels(bad).has_value());
}

TEST_CASE("how full a pool is counts what its files can still get, once for all members") {
  PoolInfo one;
  one.grows = true;
  one.size_bytes = 100 << 20;
  one.used_bytes = 80 << 20;
  CHECK(fullness_of({one}).percent == 80);
  one.reserved_bytes = 10 << 20;
  CHECK(fullness_of({one}).percent == 90);
  one.room_bytes = 100 << 20;
  CHECK(fullness_of({one}).percent == 45);
  PoolInfo two;
  two.size_bytes = 160 << 20;
  two.room_bytes = 100 << 20;
  two.grows = true;
  CHECK(fullness_of({one, two}).percent == 25);
  two.grows = false;
  CHECK(fullness_of({one, two}).percent == 19);
  CHECK(fullness_of({PoolInfo{}}).percent == 0);
}

std::string content_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST_CASE("the command for events gets them by its environment, in order") {
  const std::string path = "event-hook-" + std::to_string(getpid());
  {
    EventHook hook("echo \"$COPPICE_EVENT $COPPICE_PERCENT $COPPICE_STORE\" >> " + path, "/a b");
    hook.fire({"low-space", {{"COPPICE_PERCENT", "91"}}});
    hook.fire({"space-again", {{"COPPICE_PERCENT", "70"}}});
    for (int looks = 0; looks < 1000 && content_of(path).find("again") == std::string::npos; ++looks)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  CHECK(content_of(path) == "low-space 91 /a b\nspace-again 70 /a b\n");
  std::remove(path.c_str());
}

TEST_CASE("a command for events that does not end holds up nobody") {
  const auto began = std::chrono::steady_clock::now();
  {
    EventHook hook("exec sleep 5", "/s");
    hook.fire({"low-space", {}});
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(3));
  EventHook none("", "/s");
  none.fire({"low-space", {}});
}

}  // namespace
}  // namespace coppice::cli
