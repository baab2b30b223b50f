// A disk with a snapshot after each few writes: thousands of them are read, compared with each other and
// removed in any order, while the disk is written on; each time against a record of which block held what
// when. In the end the store is sound and takes what the disk alone takes.
//
// COPPICE_MODEL_SNAPSHOTS (1,000; by hand 10,000), COPPICE_MODEL_SEED.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>

#include "coppice/aligned_buffer.h"
#include "coppice/store.h"

namespace coppice {
namespace {

constexpr std::uint64_t kDiskBytes = std::uint64_t{16} << 20;
constexpr std::uint64_t kBlocks = kDiskBytes / kBlockBytes;
constexpr std::size_t kMostRemovedAtOnce = 100;

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

Spec snapshot_of(std::size_t number) {
  return {"disk", "s" + std::to_string(number)};
}

// Which stamp a block held, from which snapshot on.
class History {
 public:
  History() : blocks_(kBlocks) {}
  void write(std::uint64_t block, std::size_t before_snapshot, std::uint64_t stamp) {
    auto& changes = blocks_[block];
    if (!changes.empty() && changes.back().first == before_snapshot) changes.pop_back();
    changes.emplace_back(before_snapshot, stamp);
  }
  [[nodiscard]] std::uint64_t at(std::uint64_t block, std::size_t snapshot) const {
    const auto& changes = blocks_[block];
    const auto behind = std::ranges::upper_bound(changes, snapshot, {}, &Change::first);
    return behind == changes.begin() ? 0 : std::prev(behind)->second;
  }

 private:
  using Change = std::pair<std::size_t, std::uint64_t>;
  std::vector<std::vector<Change>> blocks_;
};

class Test {
 public:
  explicit Test(std::uint64_t seed) : random_(seed) {
    std::filesystem::remove_all(directory_);
    must(init_store(*reactor_, {.directory = directory_.string(), .pools = {}}, {}));
    open();
    must(store_->create_disk("disk", kDiskBytes));
    head_ = must(store_->open_device({"disk", ""}, Access::kReadWrite, {"the test"}));
    for (std::uint64_t block = 0; block < kBlocks; ++block) write(block);
    alone_bytes_ = used_bytes();
  }
  ~Test() { std::filesystem::remove_all(directory_); }
  Test(const Test&) = delete;
  Test& operator=(const Test&) = delete;

  void take(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      churn();
      must(store_->snapshot({snapshot_of(taken_)}, {}));
      living_.push_back(taken_++);
    }
  }

  void read_some(std::size_t count) {
    for (std::size_t i = 0; i < count && !living_.empty(); ++i) read_one(any());
    if (living_.empty()) return;
    read_one(living_.front());
    read_one(living_.back());
  }

  void compare_some(std::size_t count) {
    for (std::size_t i = 0; i < count && !living_.empty(); ++i) {
      const std::size_t from = any();
      const std::size_t to = random_() % 8 == 0 ? kHead : any();
      compare(from, to);
    }
  }

  // Some of them, of any age, some in one go; the disk goes on being written.
  void remove_some() {
    std::vector<Spec> specs;
    for (std::size_t count = 1 + random_() % kMostRemovedAtOnce; count > 0 && !living_.empty(); --count) {
      const std::size_t at = random_() % living_.size();
      specs.push_back(snapshot_of(living_[at]));
      living_.erase(living_.begin() + static_cast<std::ptrdiff_t>(at));
    }
    must(store_->remove(specs, false));
    churn();
  }

  void reopen() {
    head_.reset();
    must(store_->close());
    store_.reset();
    open();
    head_ = must(store_->open_device({"disk", ""}, Access::kReadWrite, {"the test"}));
  }

  void demand_sound() {
    auto report = must(store_->check(false));
    REQUIRE(report.problems == std::vector<std::string>{});
  }
  void demand_alone() {
    must(store_->wait_for_reclaim());
    CHECK(used_bytes() == alone_bytes_);
    read_device(*head_, kHead);
  }
  void close() {
    head_.reset();
    must(store_->close());
    store_.reset();
  }
  [[nodiscard]] std::size_t living() const { return living_.size(); }

 private:
  static constexpr std::size_t kHead = SIZE_MAX;

  template <class T>
  T must(Task<Outcome<T>> task) {
    Outcome<T> outcome = reactor_->run(std::move(task));
    INFO((outcome ? "" : outcome.error().message));
    REQUIRE(outcome.has_value());
    if constexpr (!std::is_void_v<T>) return std::move(*outcome);
  }
  void open() { store_ = must(open_store(*reactor_, {.directory = directory_.string(), .notice = {}})); }
  std::size_t any() { return living_[random_() % living_.size()]; }
  std::uint64_t used_bytes() {
    std::uint64_t used = 0;
    for (const PoolInfo& pool : must(store_->pools())) used += pool.used_bytes;
    return used;
  }
  void write(std::uint64_t block) {
    const std::uint64_t stamp = ++stamp_;
    for (std::size_t at = 0; at < kBlockBytes; at += sizeof stamp)
      std::memcpy(block_.data() + at, &stamp, sizeof stamp);
    const std::span<const std::byte> bytes = block_.span();
    REQUIRE(reactor_->run(head_->write(block * kBlockBytes, bytes, {})).has_value());
    history_.write(block, taken_, stamp);
  }
  void churn() {
    for (std::uint64_t count = 1 + random_() % 8; count > 0; --count) write(random_() % kBlocks);
  }
  void read_one(std::size_t number) {
    CAPTURE(number);
    const auto device = must(store_->open_device(snapshot_of(number), Access::kReadOnly, {"the test"}));
    read_device(*device, number);
  }
  void read_device(BlockDevice& device, std::size_t number) {
    REQUIRE(reactor_->run(device.read(0, all_.span())).has_value());
    for (std::uint64_t block = 0; block < kBlocks; ++block) {
      std::uint64_t stamp = 0;
      std::memcpy(&stamp, all_.data() + block * kBlockBytes + block % 512 * sizeof stamp, sizeof stamp);
      if (stamp != history_.at(block, number)) {
        CAPTURE(block);
        REQUIRE(stamp == history_.at(block, number));
      }
    }
  }
  void compare(std::size_t from, std::size_t to) {
    CAPTURE(from, to);
    const auto ranges =
        must(store_->diff(snapshot_of(from), to == kHead ? Spec{"disk", ""} : snapshot_of(to), 0));
    std::vector<bool> differs(kBlocks);
    for (const DiffRange& range : ranges) {
      for (std::uint64_t at = 0; at < range.length_bytes; at += kBlockBytes)
        differs[(range.offset_bytes + at) / kBlockBytes] = true;
    }
    for (std::uint64_t block = 0; block < kBlocks; ++block) {
      if (differs[block] != (history_.at(block, from) != history_.at(block, to))) {
        CAPTURE(block);
        REQUIRE(differs[block] == (history_.at(block, from) != history_.at(block, to)));
      }
    }
  }

  std::mt19937_64 random_;
  std::unique_ptr<Reactor> reactor_ = std::move(*Reactor::create());
  std::filesystem::path directory_ = std::filesystem::current_path() / "many-snapshots-store";
  std::unique_ptr<Store> store_;
  std::unique_ptr<BlockDevice> head_;
  AlignedBuffer block_{kBlockBytes};
  AlignedBuffer all_{kDiskBytes};
  History history_;
  std::uint64_t stamp_ = 0;
  std::size_t taken_ = 0;
  std::vector<std::size_t> living_;
  std::uint64_t alone_bytes_ = 0;
};

}  // namespace

TEST_CASE("thousands of snapshots are read, compared and removed in any order") {
  const std::uint64_t seed = from_environment("COPPICE_MODEL_SEED", 1);
  const std::uint64_t count = from_environment("COPPICE_MODEL_SNAPSHOTS", 1000);
  CAPTURE(seed, count);
  Test test(seed);
  test.take(count);
  test.read_some(100);
  test.compare_some(100);
  test.reopen();
  test.demand_sound();
  test.read_some(20);
  for (unsigned round = 0; test.living() != 0; ++round) {
    test.remove_some();
    if (round % 4 == 0) test.take(1);
    test.read_some(2);
    test.compare_some(4);
    if (round % 16 == 15) test.reopen();
  }
  test.demand_alone();
  test.demand_sound();
  test.reopen();
  test.demand_alone();
  test.close();
  std::printf("%llu snapshots, seed %llu: read, compared and removed in any order, and the space is back\n",
              static_cast<unsigned long long>(count), static_cast<unsigned long long>(seed));
}

}  // namespace coppice
