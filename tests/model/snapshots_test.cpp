// A 256 MiB disk with 200 snapshots between random writes: each must be, by hash, what the disk was when it
// was taken, also after the store was closed and opened again.
#include <xxhash.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "coppice/aligned_buffer.h"
#include "coppice/store.h"

namespace coppice {
namespace {

constexpr std::uint64_t kDiskBytes = std::uint64_t{256} << 20;
constexpr std::uint64_t kChunkBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kChunks = kDiskBytes / kChunkBytes;

// The hash of a disk is the hash of its chunks' hashes, so that only what was written is hashed anew.
class HashedDisk {
 public:
  HashedDisk() : bytes_(kDiskBytes) {
    for (std::uint64_t chunk = 0; chunk < kChunks; ++chunk) hash_chunk(chunk);
  }
  void write(std::uint64_t offset, std::span<const std::byte> from) {
    std::ranges::copy(from, bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
    for (std::uint64_t chunk = offset / kChunkBytes; chunk * kChunkBytes < offset + from.size(); ++chunk)
      hash_chunk(chunk);
  }
  [[nodiscard]] std::uint64_t hash() const { return XXH3_64bits(hashes_.data(), sizeof hashes_); }

 private:
  void hash_chunk(std::uint64_t chunk) {
    hashes_[chunk] = XXH3_64bits(bytes_.data() + chunk * kChunkBytes, kChunkBytes);
  }
  std::vector<std::byte> bytes_;
  std::array<std::uint64_t, kChunks> hashes_{};
};

struct Fixture {
  std::unique_ptr<Reactor> reactor = std::move(*Reactor::create());
  std::filesystem::path directory = std::filesystem::current_path() / "snapshots-store";
  std::unique_ptr<Store> store;

  Fixture() {
    std::filesystem::remove_all(directory);
    require(reactor->run(init_store(*reactor, {.directory = directory.string(), .pools = {}}, {})));
    open();
  }
  ~Fixture() { std::filesystem::remove_all(directory); }
  Fixture(const Fixture&) = delete;
  Fixture& operator=(const Fixture&) = delete;

  void open() {
    auto opened = reactor->run(open_store(*reactor, {.directory = directory.string(), .notice = {}}));
    require(opened);
    store = std::move(*opened);
  }
  template <class R>
  void require(const R& result) {
    if constexpr (std::is_same_v<typename R::error_type, Failure>) {
      INFO((result ? "" : result.error().message));
      REQUIRE(result.has_value());
    } else {
      INFO((result ? "" : result.error().text));
      REQUIRE(result.has_value());
    }
  }
  std::unique_ptr<BlockDevice> device(const Spec& spec, Access access) {
    auto opened = reactor->run(store->open_device(spec, access, {"the test"}));
    require(opened);
    return std::move(*opened);
  }
  std::uint64_t hash_of(const Spec& spec) {
    const auto reader = device(spec, Access::kReadOnly);
    std::array<std::uint64_t, kChunks> hashes{};
    AlignedBuffer chunk(kChunkBytes);
    for (std::uint64_t at = 0; at < kChunks; ++at) {
      require(reactor->run(reader->read(at * kChunkBytes, chunk.span())));
      hashes[at] = XXH3_64bits(chunk.data(), kChunkBytes);
    }
    return XXH3_64bits(hashes.data(), sizeof hashes);
  }
};

std::string name_of(std::size_t number) {
  return "s" + std::to_string(number);
}

TEST_CASE_METHOD(Fixture, "200 snapshots of a 256 MiB disk are what the disk was") {
  const char* seed_text = std::getenv("COPPICE_MODEL_SEED");
  const std::uint64_t seed = seed_text == nullptr ? 1 : std::strtoull(seed_text, nullptr, 10);
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  require(reactor->run(store->create_disk("disk", kDiskBytes)));
  HashedDisk expected;
  std::vector<std::uint64_t> hashes;
  std::vector<std::byte> bytes;
  auto writer = device({"disk", ""}, Access::kReadWrite);
  for (std::size_t number = 0; number < 200; ++number) {
    for (std::uint64_t count = 8 + random() % 56; count > 0; --count) {
      const std::uint64_t length = random() % 4 == 0 ? 1 + random() % 65536 : kBlockBytes;
      std::uint64_t offset = random() % (kDiskBytes - length);
      if (length == kBlockBytes) offset = offset / kBlockBytes * kBlockBytes;
      bytes.resize(length);
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
      require(reactor->run(writer->write(offset, bytes, {})));
      expected.write(offset, bytes);
    }
    require(reactor->run(store->snapshot({{"disk", name_of(number)}}, {})));
    hashes.push_back(expected.hash());
  }
  for (std::size_t number = 0; number < hashes.size(); ++number) {
    CAPTURE(number);
    REQUIRE(hash_of({"disk", name_of(number)}) == hashes[number]);
  }
  writer.reset();
  require(reactor->run(store->close()));
  store.reset();
  open();
  CHECK(hash_of({"disk", ""}) == expected.hash());
  for (std::size_t number = 7; number < hashes.size(); number += 32)
    REQUIRE(hash_of({"disk", name_of(number)}) == hashes[number]);
  auto report = reactor->run(store->check(true));
  require(report);
  CHECK(report->problems == std::vector<std::string>{});
  require(reactor->run(store->close()));
}

}  // namespace
}  // namespace coppice
