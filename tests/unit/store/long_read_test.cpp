// Reads that are taken in slices: each byte in its place, and a damaged block found wherever it stands.
#include <cerrno>
#include <cstring>
#include <fstream>

#include "store_fixture.h"

namespace coppice {
namespace {

using test::StoreFixture;
constexpr std::uint64_t kBlocks = 1024;
constexpr std::uint64_t kFirstWord = 0x636f7070'00000000;  // of block 0; that of block n is n more

struct House : StoreFixture {
  House() {
    require(run(store->create_disk("web", kBlocks * kBlockBytes)));
    AlignedBuffer buffer(kBlocks * kBlockBytes);
    for (std::uint64_t block = 0; block < kBlocks; ++block) {
      const std::uint64_t word = kFirstWord + block;
      for (std::uint64_t at = 0; at < kBlockBytes; at += sizeof word)
        std::memcpy(buffer.data() + block * kBlockBytes + at, &word, sizeof word);
    }
    REQUIRE(run(device()->write(0, buffer.span(), WriteFlags{true})).has_value());
  }
  std::unique_ptr<BlockDevice> device() {
    auto opened = run(store->open_device({"web", ""}, Access::kReadWrite, {"test"}));
    require(opened);
    return std::move(*opened);
  }
  Result<> read(std::uint64_t first, std::uint64_t end) {
    AlignedBuffer buffer((end - first) * kBlockBytes);
    auto done = run(device()->read(first * kBlockBytes, buffer.span()));
    for (std::uint64_t block = first; done && block < end; ++block) {
      std::uint64_t word = 0;
      std::memcpy(&word, buffer.data() + (block - first + 1) * kBlockBytes - sizeof word, sizeof word);
      REQUIRE(word == kFirstWord + block);
    }
    return done;
  }
  // Behind the store's back.
  void damage(std::uint64_t block) {
    close();
    std::fstream pool(directory / "pool", std::ios::in | std::ios::out | std::ios::binary);
    for (std::uint64_t at = 0, word = 0; word != kFirstWord + block; at += kBlockBytes) {
      pool.seekg(static_cast<std::streamoff>(at));
      REQUIRE(pool.read(reinterpret_cast<char*>(&word), sizeof word));
      pool.seekp(static_cast<std::streamoff>(at));
      if (word == kFirstWord + block) pool.put('x');
    }
    pool.close();
    open();
  }
};

TEST_CASE("a long read that begins and ends within leaves") {
  House house;
  CHECK(house.read(0, kBlocks).has_value());
  CHECK(house.read(7, 7 + 3 * kLeafBlocks).has_value());
  CHECK(house.read(kLeafBlocks - 1, 4 * kLeafBlocks + 1).has_value());
}

TEST_CASE("a damaged block anywhere in a long read refuses it, and no other") {
  for (const std::uint64_t block : {std::uint64_t{9}, std::uint64_t{200}, std::uint64_t{299}}) {
    House house;
    house.damage(block);
    const auto whole = house.read(7, 300);
    REQUIRE_FALSE(whole.has_value());
    CHECK(whole.error().errno_value == EIO);
    CHECK(house.read(block, block + 1).error().errno_value == EIO);
    if (block > 7) CHECK(house.read(7, block).has_value());
    CHECK(house.read(block + 1, kBlocks).has_value());
  }
}

}  // namespace
}  // namespace coppice
