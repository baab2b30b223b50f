#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <cstring>
#include <deque>
#include <filesystem>

#include "journal/staging.h"
#include "random_records.h"
#include "shared_memory.h"

namespace coppice {
namespace {

using test::make_stamp;
using test::RandomRecords;
using test::SharedMemory;

struct Known {
  std::uint64_t end = 0;  // behind the record
  Record record;
};

// Plays random appends, releases, copies and deaths against a list of what must be there.
class StagingPlay {
 public:
  StagingPlay(std::uint64_t seed, std::uint64_t ring_bytes)
      : records_(seed), memory_(ring_bytes), staging_(memory_.attach()) {
    const std::uint64_t start = 8 * records_.below(100'000);
    staging_.restamp(stamp_, start);
    released_ = start;
  }

  void run(int steps) {
    for (int i = 0; i < steps; ++i) {
      append();
      if (records_.one_in(60)) release();
      if (records_.one_in(8)) copy_some();
      if (records_.one_in(20)) check_tail();
    }
    check_tail();
  }
  [[nodiscard]] std::uint64_t appended() const { return appended_; }
  [[nodiscard]] std::uint64_t refused() const { return refused_; }
  [[nodiscard]] std::uint64_t end() const { return staging_.end(); }

 private:
  void append() {
    Record record = records_.next();
    const std::uint64_t bytes = encoded_bytes(record);
    if (!staging_.has_room(bytes)) {
      ++refused_;
      return release();
    }
    staging_.reserve(bytes);
    const std::uint64_t end = staging_.append(record);
    staging_.unreserve(bytes);
    REQUIRE(end == staging_.end());
    REQUIRE(staging_.used_bytes() <= staging_.ring_bytes());
    known_.push_back({end, std::move(record)});
    ++appended_;
  }

  void release() {
    const std::uint64_t count = records_.below(known_.size() + 1);
    if (count == 0) return;
    released_ = known_[count - 1].end;
    known_.erase(known_.begin(), known_.begin() + static_cast<std::ptrdiff_t>(count));
    staging_.release(released_);
  }

  // From any record's end to any later one's: exactly the records between, as often as the limit makes it.
  void copy_some() {
    if (known_.empty()) return;
    const std::size_t first = records_.below(known_.size());
    const std::size_t last = first + records_.below(known_.size() - first);
    std::uint64_t from = first == 0 ? released_ : known_[first - 1].end;
    const std::uint64_t to = known_[last].end;
    const std::size_t limit = 64 + records_.below(20'000);
    std::size_t at = first;
    while (from < to) {
      std::vector<std::byte> bytes;
      from = staging_.copy(from, to, limit, bytes);
      REQUIRE_FALSE(bytes.empty());
      at = check_copied(bytes, at, limit);
    }
    REQUIRE(from == to);
    REQUIRE(at == last + 1);
  }

  std::size_t check_copied(std::span<const std::byte> bytes, std::size_t at, std::size_t limit) {
    const std::size_t total = bytes.size();
    std::size_t count = 0;
    while (!bytes.empty()) {
      auto view = peek_record(bytes);
      REQUIRE(view.has_value());
      auto record = decode_record(*view);
      REQUIRE(record.has_value());
      REQUIRE(at < known_.size());
      REQUIRE((*record == known_[at].record));
      ++at;
      ++count;
      bytes = bytes.subspan(view->length);
    }
    REQUIRE((total <= limit || count == 1));
    return at;
  }

  // What a daemon finds that starts after this one was killed here.
  void check_tail() const {
    const StagingTail tail = memory_.read_tail(stamp_);
    REQUIRE(tail.end_position == staging_.end());
    REQUIRE(tail.records.size() == known_.size());
    for (std::size_t i = 0; i < known_.size(); ++i) {
      REQUIRE((tail.records[i].record == known_[i].record));
      REQUIRE(tail.records[i].position >= (i == 0 ? released_ : known_[i - 1].end));
      REQUIRE(tail.records[i].position < known_[i].end);
    }
  }

  RandomRecords records_;
  SharedMemory memory_;
  StagingStamp stamp_ = make_stamp();
  Staging staging_;
  std::deque<Known> known_;
  std::uint64_t released_ = 0;
  std::uint64_t appended_ = 0;
  std::uint64_t refused_ = 0;
};

TEST_CASE(
    "thousands of random records, many laps, and what a killed daemon leaves is exactly what it staged") {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    // Sizes whose laps end in every way: records that fit, padding, and a rest too small for it.
    const std::uint64_t ring_bytes = (32 << 10) + 8 * ((seed * 37) % 512);
    StagingPlay play(seed, ring_bytes);
    play.run(2000);
    CHECK(play.appended() > 500);
    CHECK(play.refused() > 0);
    CHECK(play.end() > 10 * ring_bytes);
  }
}

// A staging area with `count` records, the memory of it, and where the last one stands.
struct Filled {
  SharedMemory memory{64 << 10};
  Staging staging{memory.attach()};
  std::vector<Record> records;
  std::uint64_t last_offset = 0;
  std::uint64_t end = 0;
  explicit Filled(int count) {
    staging.restamp(make_stamp(), 800);
    RandomRecords random(5);
    for (int i = 0; i < count; ++i) {
      records.push_back(random.checksum());
      last_offset = kStagingRingOffset + staging.end() - 800;
      end = kStagingRingOffset + staging.append(records.back()) - 800;
    }
  }
};

TEST_CASE("a record torn anywhere is not there, and those before it are") {
  const Filled filled(10);
  for (std::uint64_t at = filled.last_offset; at < filled.end; ++at) {
    CAPTURE(at - filled.last_offset);
    const SharedMemory torn = filled.memory.copy();
    torn.bytes()[at] ^= std::byte{0x10};
    const StagingTail tail = torn.read_tail(make_stamp());
    REQUIRE(tail.records.size() == 9);
    REQUIRE(kStagingRingOffset + tail.end_position - 800 == filled.last_offset);
  }
}

TEST_CASE("a record damaged in the middle hides all behind it") {
  const Filled filled(10);
  const SharedMemory damaged = filled.memory.copy();
  damaged.bytes()[kStagingRingOffset + 20] ^= std::byte{1};
  CHECK(damaged.read_tail(make_stamp()).records.empty());
}

TEST_CASE("under another stamp nothing is there") {
  const Filled filled(10);
  REQUIRE(filled.memory.read_tail(make_stamp()).records.size() == 10);
  StagingStamp boot = make_stamp();
  boot.boot.bytes[15] ^= 1;
  StagingStamp store = make_stamp();
  store.store.bytes[0] ^= 1;
  StagingStamp unknown_boot = make_stamp();
  unknown_boot.boot = {};
  for (const StagingStamp& stamp : {boot, store, make_stamp(2), unknown_boot}) {
    const StagingTail tail = filled.memory.read_tail(stamp);
    CHECK(tail.records.empty());
    CHECK(tail.in_flight.empty());
    CHECK(tail.end_position == 0);
  }
}

TEST_CASE("a boot without an id trusts nothing that another such boot left") {
  SharedMemory memory(64 << 10);
  StagingStamp stamp = make_stamp();
  stamp.boot = {};
  Staging staging(memory.attach());
  staging.restamp(stamp, 0);
  staging.append(RandomRecords(1).next());
  CHECK(memory.read_tail(stamp).records.empty());
}

TEST_CASE("after invalidate nothing is there") {
  Filled filled(10);
  filled.staging.begin_in_place({PhysicalBlock::of(0, 7), 1});
  filled.staging.invalidate();
  CHECK(filled.memory.read_tail(make_stamp()).records.empty());
  CHECK(filled.memory.read_tail(make_stamp()).in_flight.empty());
}

TEST_CASE("records of an earlier run are not taken for those of the next, at whatever position it begins") {
  Filled filled(20);
  for (const std::uint64_t position : {std::uint64_t{800}, std::uint64_t{0}, filled.staging.end()}) {
    filled.staging.restamp(make_stamp(2), position);
    const StagingTail tail = filled.memory.read_tail(make_stamp(2));
    CHECK(tail.records.empty());
    CHECK(tail.end_position == position);
  }
}

TEST_CASE("a header damaged anywhere before its hash makes the staging area void") {
  const Filled filled(3);
  for (std::size_t at = 0; at < 72; ++at) {
    if (at >= 12 && at < 16) continue;  // reserved
    CAPTURE(at);
    const SharedMemory damaged = filled.memory.copy();
    damaged.bytes()[at] ^= std::byte{4};
    REQUIRE(damaged.read_tail(make_stamp()).records.empty());
  }
}

TEST_CASE("slots tell which in-place writes were in flight") {
  SharedMemory memory(64 << 10);
  Staging staging(memory.attach());
  staging.restamp(make_stamp(), 0);
  const PhysicalRun first{PhysicalBlock::of(0, 100), 3};
  const PhysicalRun second{PhysicalBlock::of(2, 200), 1};
  const std::uint32_t one = staging.begin_in_place(first);
  const std::uint32_t two = staging.begin_in_place(second);
  auto in_flight = memory.read_tail(make_stamp()).in_flight;
  REQUIRE(in_flight.size() == 2);
  CHECK(std::ranges::count(in_flight, first) == 1);
  CHECK(std::ranges::count(in_flight, second) == 1);
  staging.end_in_place(one);
  in_flight = memory.read_tail(make_stamp()).in_flight;
  REQUIRE(in_flight.size() == 1);
  CHECK(in_flight[0] == second);
  staging.end_in_place(two);
  CHECK(memory.read_tail(make_stamp()).in_flight.empty());
}

TEST_CASE("slots run out with an answer, come back, and are empty after a restamp") {
  SharedMemory memory(64 << 10);
  Staging staging(memory.attach());
  staging.restamp(make_stamp(), 0);
  std::vector<std::uint32_t> taken;
  for (std::uint64_t i = 0; i < kStagingSlots; ++i)
    taken.push_back(staging.begin_in_place({PhysicalBlock::of(0, i + 1), 1}));
  std::ranges::sort(taken);
  CHECK(std::ranges::adjacent_find(taken) == taken.end());
  CHECK(taken.back() != Staging::kNoSlot);
  CHECK(staging.begin_in_place({PhysicalBlock::of(0, 1), 1}) == Staging::kNoSlot);
  CHECK(memory.read_tail(make_stamp()).in_flight.size() == kStagingSlots);
  staging.end_in_place(taken[17]);
  CHECK(staging.begin_in_place({PhysicalBlock::of(0, 1), 1}) == taken[17]);
  staging.restamp(make_stamp(2), 0);
  CHECK(memory.read_tail(make_stamp(2)).in_flight.empty());
  CHECK(staging.begin_in_place({PhysicalBlock::of(0, 1), 1}) != Staging::kNoSlot);
}

TEST_CASE("a mapped file is there again after its process was killed") {
  const std::string path = (std::filesystem::current_path() / "staging_test.file").string();
  std::filesystem::remove(path);
  const std::uint64_t size = kStagingRingOffset + (256 << 10);
  RandomRecords random(3);
  std::vector<Record> records;
  for (int i = 0; i < 50; ++i) records.push_back(random.next());
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {  // no Catch2 in here
    auto memory = map_staging_file(path, size);
    if (!memory) _exit(1);
    Staging staging(std::move(*memory));
    staging.restamp(make_stamp(), 0);
    for (const Record& record : records) staging.append(record);
    staging.begin_in_place({PhysicalBlock::of(0, 9), 2});
    raise(SIGKILL);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  auto memory = map_staging_file(path, size);
  REQUIRE(memory.has_value());
  const StagingTail tail = Staging(std::move(*memory)).read_tail(make_stamp());
  REQUIRE(tail.records.size() == 50);
  for (std::size_t i = 0; i < 50; ++i) CHECK((tail.records[i].record == records[i]));
  CHECK(tail.in_flight.size() == 1);
  std::filesystem::remove(path);
}

TEST_CASE("a staging file has no holes, and one of another size is made anew") {
  const std::string path = (std::filesystem::current_path() / "staging_test.holes").string();
  std::filesystem::remove(path);
  const std::uint64_t size = kStagingRingOffset + (1 << 20);
  REQUIRE(map_staging_file(path, size).has_value());
  CHECK(std::filesystem::file_size(path) == size);
  FILE* file = std::fopen(path.c_str(), "r");
  REQUIRE(file != nullptr);
  CHECK(lseek(fileno(file), 0, SEEK_HOLE) == static_cast<off_t>(size));
  std::fclose(file);
  {
    auto memory = map_staging_file(path, size);
    REQUIRE(memory.has_value());
    Staging staging(std::move(*memory));
    staging.restamp(make_stamp(), 0);
    staging.append(RandomRecords(1).next());
  }
  auto larger = map_staging_file(path, size + (1 << 20));
  REQUIRE(larger.has_value());
  CHECK((*larger)->bytes().size() == size + (1 << 20));
  CHECK(Staging(std::move(*larger)).read_tail(make_stamp()).records.empty());
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace coppice
