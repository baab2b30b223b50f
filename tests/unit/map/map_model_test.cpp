#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "map_model.h"

using namespace coppice;
using namespace coppice::test;

namespace {

// More of them on demand: COPPICE_MAP_SEEDS=5000 COPPICE_MAP_FIRST_SEED=1000.
std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

ModelSettings settings_of(std::uint64_t seed) {
  constexpr std::size_t kLimits[] = {1, 4096, 16384, std::size_t{1} << 20};
  ModelSettings settings;
  settings.seed = seed;
  settings.limit_bytes = kLimits[seed % 4];
  settings.leaves = seed % 3 == 0 ? 3 : 12;
  settings.tasks = seed % 5 == 0 ? 1 : 8;
  return settings;
}

// The same store for all openings: what is in memory is what lasts.
class Lasting final : public MetaStore {
 public:
  explicit Lasting(MetaStore& store) : store_(store) {}
  Result<std::optional<std::string>> get(Family family, std::string_view key) override {
    return store_.get(family, key);
  }
  Result<> write(const MetaBatch& batch, bool sync) override { return store_.write(batch, sync); }
  std::unique_ptr<MetaIterator> iterate(Family family, Reach reach) override {
    return store_.iterate(family, reach);
  }
  // Every other one has to be read.
  std::unique_ptr<MetaIterator> leaves_in_memory() override {
    in_memory_ = !in_memory_;
    return in_memory_ ? store_.iterate(Family::kLeaf, Reach::kPrefix) : nullptr;
  }

 private:
  MetaStore& store_;
  bool in_memory_ = false;
};

}  // namespace

TEST_CASE("the map answers as the oracle does, whatever the order, over memory") {
  const std::uint64_t first = number_from("COPPICE_MAP_FIRST_SEED", 0);
  const std::uint64_t seeds = number_from("COPPICE_MAP_SEEDS", 120);
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    const auto store = make_memory_meta_store();
    MapModel model(settings_of(seed), [&] { return std::make_unique<Lasting>(*store); });
    INFO("seed " << seed);
    REQUIRE(model.run(1500) == "");
  }
}

TEST_CASE("the map answers as the oracle does, whatever the order, over RocksDB") {
  char pattern[] = "/tmp/test_map.XXXXXX";
  const std::filesystem::path root = mkdtemp(pattern);
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    const std::string directory = (root / std::to_string(seed)).string();
    bool create = true;
    MapModel model(settings_of(seed), [&] {
      std::string reason;
      auto store = open_rocks_meta_store(directory, create, reason);
      INFO(reason);
      REQUIRE(store);
      create = false;
      return std::move(*store);
    });
    INFO("seed " << seed);
    REQUIRE(model.run(1500) == "");
  }
  std::filesystem::remove_all(root);
}
