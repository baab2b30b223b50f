#include "base/uuid.h"

#include <catch2/catch.hpp>
#include <fstream>

using namespace coppice;

TEST_CASE("a uuid is written in the usual groups") {
  Uuid uuid;
  CHECK(uuid.is_nil());
  for (unsigned i = 0; i < 16; ++i) uuid.bytes[i] = static_cast<std::uint8_t>(i * 0x11);
  CHECK(to_text(uuid) == "00112233-4455-6677-8899-aabbccddeeff");
  CHECK_FALSE(uuid.is_nil());
}

TEST_CASE("random uuids differ and say that they are random") {
  const Uuid one = random_uuid();
  CHECK(one != random_uuid());
  CHECK(to_text(one)[14] == '4');
}

TEST_CASE("the boot id is the kernel's, and stays") {
  std::string text;
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::getline(file, text);
  REQUIRE(text.size() == 36);
  CHECK(to_text(boot_id()) == text);
  CHECK(boot_id() == boot_id());
}
