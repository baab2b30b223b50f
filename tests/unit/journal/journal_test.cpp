#include "journal/journal.h"

#include <catch2/catch.hpp>
#include <deque>

#include "memory_file.h"
#include "random_records.h"
#include "shared_memory.h"

namespace coppice {
namespace {

using test::make_stamp;
using test::MemoryFile;
using test::RandomRecords;
using test::SharedMemory;

constexpr std::uint64_t kRingOffset = 64 << 10;

class Collector final : public RecordSink {
 public:
  Task<Result<>> apply(const Record& record) override {
    records.push_back(record);
    co_return Result<>{};
  }
  std::vector<Record> records;
};

// A journal over memory, its staging area, and a list of every record staged with the position behind it.
struct Bench {
  std::unique_ptr<Reactor> reactor = std::move(*Reactor::create());
  MemoryFile file;
  SharedMemory memory;
  Staging staging;
  Uuid store = make_stamp().store;
  JournalPlace place;
  JournalPoint start;
  std::unique_ptr<Journal> journal;
  int data_syncs = 0;
  std::function<Task<Result<>>()> during_sync;  // what else happens while data is synced

  struct Staged {
    std::uint64_t end = 0;
    Record record;
  };
  std::deque<Staged> staged;
  std::size_t trusted = 0;             // of the last replay
  std::uint64_t durable_sequence = 0;  // …

  FlushOrder order;

  explicit Bench(std::uint64_t ring_bytes = 512 << 10, std::uint64_t staging_bytes = 64 << 10,
                 FlushOrder flush_order = FlushOrder::kConservative)
      : file(*reactor, kRingOffset + ring_bytes),
        memory(staging_bytes),
        staging(memory.attach()),
        order(flush_order) {
    place = {&file, kRingOffset, ring_bytes};
    start = {.sequence = 41, .hash = 0x1234, .ring_offset = 8192, .position = 4000};
    staging.restamp(make_stamp(), start.position);
    open(start);
  }

  void open(JournalPoint end) {
    JournalSetup setup{place, store, order, [this] { return sync_all(); }, start, end, end.sequence};
    journal = std::make_unique<Journal>(*reactor, staging, std::move(setup));
  }

  // Data and journal in one go; the conservative order syncs the journal by itself.
  Task<Result<>> sync_all() {
    auto synced = co_await sync_data();
    if (synced && order == FlushOrder::kOrderFree) synced = co_await sync_file(file);
    co_return synced;
  }

  Task<Result<>> sync_data() {
    ++data_syncs;
    if (during_sync) {
      auto other = co_await during_sync();
      if (!other) co_return other;
    }
    co_await sleep_for(*reactor, std::chrono::nanoseconds{1});
    co_return Result<>{};
  }

  Task<Result<>> stage(Record record) {
    const std::uint64_t bytes = encoded_bytes(record);
    auto reserved = co_await journal->reserve(bytes);
    if (!reserved) co_return reserved;
    const std::uint64_t end = journal->stage(record);
    journal->unreserve(bytes);
    staged.push_back({end, std::move(record)});
    co_return Result<>{};
  }

  Result<> commit() { return reactor->run(journal->commit(journal->staged())); }

  // Replays from `from` what stands in `bytes` (now, or what a power cut leaves).
  // The tail comes behind what is trusted.
  Result<JournalPoint> replay(JournalPoint from, Collector& into, bool after_power_cut = false) {
    MemoryFile copy(*reactor, 0);
    copy.bytes() = after_power_cut ? file.durable() : file.bytes();
    auto end = reactor->run(replay_journal({&copy, place.offset_bytes, place.ring_bytes}, store, from, into));
    if (!end) return std::unexpected(end.error());
    trusted = into.records.size();
    durable_sequence = end->durable_sequence;
    into.records.insert(into.records.end(), end->tail.begin(), end->tail.end());
    return end->point;
  }

  void require_replay(JournalPoint from, bool after_power_cut) {
    Collector found;
    auto end = replay(from, found, after_power_cut);
    REQUIRE(end.has_value());
    REQUIRE(end->sequence == journal->point().sequence);
    REQUIRE(end->hash == journal->point().hash);
    REQUIRE(end->ring_offset == journal->point().ring_offset);
    REQUIRE(end->position <= journal->point().position);
    std::size_t at = 0;
    for (const Staged& one : staged) {
      if (one.end <= from.position || one.end > journal->durable()) continue;
      REQUIRE(at < found.records.size());
      REQUIRE((found.records[at++] == one.record));
    }
    REQUIRE(at == found.records.size());
  }
};

TEST_CASE("an empty ring replays to its start") {
  Bench bench;
  Collector found;
  auto end = bench.replay(bench.start, found);
  REQUIRE(end.has_value());
  CHECK(end->sequence == bench.start.sequence);
  CHECK(end->position == bench.start.position);
  CHECK(found.records.empty());
}

// A checkpointer that has nothing to write: commits, then lets go of the ring.
Task<void> checkpoint(Bench& bench, std::deque<JournalPoint>& points) {
  auto committed = co_await bench.journal->commit(bench.journal->staged());
  if (!committed) co_return;
  co_await sleep_for(*bench.reactor, std::chrono::nanoseconds{1});
  points.assign(1, bench.journal->point());
  bench.journal->trim(points.front());
}

TEST_CASE("over many laps, from every point kept, the replay is what was committed, in order") {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    CAPTURE(seed);
    const FlushOrder order = seed % 2 == 0 ? FlushOrder::kOrderFree : FlushOrder::kConservative;
    Bench bench((256 << 10) + 4096 * (seed % 7), (32 << 10) + 8 * seed, order);
    RandomRecords random(seed);
    std::deque<JournalPoint> points{bench.start};
    bench.journal->on_pressure([&] { spawn(checkpoint(bench, points)); });
    for (int step = 0; step < 1500; ++step) {
      REQUIRE(bench.reactor->run(bench.stage(random.next())).has_value());
      if (!random.one_in(5)) continue;
      REQUIRE(bench.commit().has_value());
      REQUIRE(bench.journal->durable() == bench.staging.end());
      points.push_back(bench.journal->point());
      if (random.one_in(20)) bench.require_replay(points[random.below(points.size())], random.one_in(2));
      if (random.one_in(30)) {
        const auto keep = static_cast<std::ptrdiff_t>(random.below(points.size()));
        points.erase(points.begin(), points.begin() + keep);
        bench.journal->trim(points.front());
      }
      REQUIRE(bench.journal->used_bytes() <= bench.place.ring_bytes);
    }
    REQUIRE(bench.commit().has_value());
    for (const JournalPoint& point : points) bench.require_replay(point, true);
    CHECK(bench.file.writes > 200);
  }
}

TEST_CASE("replay and staging tail together hold every record at every moment") {
  Bench bench;
  RandomRecords random(99);
  for (int step = 0; step < 300; ++step) {
    REQUIRE(bench.reactor->run(bench.stage(random.next())).has_value());
    if (random.one_in(7)) REQUIRE(bench.commit().has_value());
    if (random.one_in(40)) {
      bench.start = bench.journal->point();
      bench.journal->trim(bench.start);
    }
    Collector found;
    auto end = bench.replay(bench.start, found);
    REQUIRE(end.has_value());
    std::vector<Record> all = found.records;
    for (const auto& entry : bench.memory.read_tail(make_stamp()).records)
      if (entry.position >= end->position) all.push_back(entry.record);
    std::vector<Record> expected;
    for (const auto& one : bench.staged)
      if (one.end > bench.start.position) expected.push_back(one.record);
    REQUIRE((all == expected));
  }
}

// The order that power loss relies on: data before the batch that names it.
TEST_CASE("a record staged while data is being synced waits for the next round") {
  Bench bench;
  RandomRecords random(4);
  REQUIRE(bench.reactor->run(bench.stage(random.map())).has_value());
  const std::uint64_t first = bench.journal->staged();
  bench.during_sync = [&]() -> Task<Result<>> {
    if (bench.staged.size() == 1) return bench.stage(random.map());
    return [](Bench&) -> Task<Result<>> { co_return Result<>{}; }(bench);
  };
  REQUIRE(bench.reactor->run(bench.journal->commit(first)).has_value());
  REQUIRE(bench.staged.size() == 2);
  CHECK(bench.data_syncs == 1);
  CHECK(bench.journal->durable() == first);
  Collector found;
  REQUIRE(bench.replay(bench.start, found).has_value());
  CHECK(found.records.size() == 1);
  REQUIRE(bench.commit().has_value());
  CHECK(bench.data_syncs == 2);
  bench.require_replay(bench.start, true);
}

TEST_CASE("what commit answered for is durable, and a power cut before that shows no part of a batch") {
  Bench bench;
  RandomRecords random(8);
  for (int i = 0; i < 20; ++i) REQUIRE(bench.reactor->run(bench.stage(random.next())).has_value());
  Collector none;
  REQUIRE(bench.replay(bench.start, none, true).has_value());
  CHECK(none.records.empty());
  REQUIRE(bench.commit().has_value());
  Collector all;
  REQUIRE(bench.replay(bench.start, all, true).has_value());
  CHECK(all.records.size() == 20);
}

Task<void> commit_and_count(Bench& bench, std::uint64_t position, int& failures, Latch& latch) {
  auto committed = co_await bench.journal->commit(position);
  if (!committed) ++failures;
  latch.arrive();
}

Task<int> commit_from_many(Bench& bench, int count) {
  RandomRecords random(3);
  int failures = 0;
  Latch latch(static_cast<std::uint32_t>(count));
  for (int i = 0; i < count; ++i) {
    auto staged = co_await bench.stage(random.checksum());
    if (!staged) ++failures;
    spawn(commit_and_count(bench, bench.journal->staged(), failures, latch));
  }
  co_await latch;
  co_return failures;
}

TEST_CASE("commits that wait at the same time share rounds") {
  Bench bench;
  CHECK(bench.reactor->run(commit_from_many(bench, 40)) == 0);
  CHECK(bench.data_syncs <= 3);
  CHECK(bench.journal->durable() == bench.staging.end());
  bench.require_replay(bench.start, true);
}

Task<void> note_end(Bench& bench, std::vector<int>& rounds, Latch& latch) {
  co_await bench.journal->round_ended();
  rounds.push_back(bench.data_syncs);
  latch.arrive();
}

// Without a pause one of the two is always on its way: as the first one ends, the other one has begun its
// sync.
Task<std::vector<int>> rounds_seen(Bench& bench) {
  RandomRecords random(5);
  std::vector<int> rounds;
  int failures = 0;
  Latch commits(2);
  Latch rests(2);
  spawn(note_end(bench, rounds, rests));
  for (int i = 0; i < 2; ++i) {
    (void)co_await bench.stage(random.checksum());
    spawn(commit_and_count(bench, bench.journal->staged(), failures, commits));
  }
  spawn(note_end(bench, rounds, rests));
  co_await rests;
  rounds.push_back(bench.journal->durable() == bench.journal->staged() ? 1 : 0);
  co_await commits;
  rounds.push_back(failures);
  co_return rounds;
}

TEST_CASE("the end of a round is that of the one on its way, not of the one behind it") {
  Bench bench;
  CHECK(bench.reactor->run(rounds_seen(bench)) == std::vector<int>{0, 2, 0, 0});
  CHECK(bench.data_syncs == 2);
}

TEST_CASE("a commit of what is durable costs nothing") {
  Bench bench;
  REQUIRE(bench.reactor->run(bench.stage(RandomRecords(1).map())).has_value());
  REQUIRE(bench.commit().has_value());
  const int syncs = bench.file.syncs;
  const int writes = bench.file.writes;
  REQUIRE(bench.commit().has_value());
  CHECK(bench.file.syncs == syncs);
  CHECK(bench.file.writes == writes);
}

TEST_CASE("the order-free commit is one sync, and the next one carries what it made durable") {
  Bench bench(512 << 10, 64 << 10, FlushOrder::kOrderFree);
  RandomRecords random(5);
  REQUIRE(bench.reactor->run(bench.stage(random.map())).has_value());
  const std::uint64_t first = bench.journal->staged();
  REQUIRE(bench.commit().has_value());
  CHECK(bench.file.syncs == 1);
  CHECK(bench.data_syncs == 1);
  CHECK(bench.journal->durable() == first);
  CHECK(bench.journal->proven() < first);
  Collector one;
  REQUIRE(bench.replay(bench.start, one, true).has_value());
  CHECK(one.records.size() == 1);
  CHECK(bench.trusted == 0);
  CHECK(bench.durable_sequence == bench.start.sequence);

  REQUIRE(bench.reactor->run(bench.stage(random.map())).has_value());
  REQUIRE(bench.commit().has_value());
  CHECK(bench.journal->proven() == first);
  Collector two;
  REQUIRE(bench.replay(bench.start, two, true).has_value());
  CHECK(two.records.size() == 2);
  CHECK(bench.trusted == 1);
}

TEST_CASE("a proof with nothing staged is one empty batch, and only one") {
  Bench bench(512 << 10, 64 << 10, FlushOrder::kOrderFree);
  REQUIRE(bench.reactor->run(bench.stage(RandomRecords(1).map())).has_value());
  REQUIRE(bench.reactor->run(bench.journal->prove()).has_value());
  CHECK(bench.journal->proven() == bench.journal->staged());
  CHECK(bench.file.writes == 2);
  REQUIRE(bench.reactor->run(bench.journal->prove()).has_value());
  REQUIRE(bench.commit().has_value());
  CHECK(bench.file.writes == 2);
  Collector found;
  REQUIRE(bench.replay(bench.start, found, true).has_value());
  CHECK(bench.trusted == 1);
}

TEST_CASE("no batch of a recovery calls anything durable") {
  Bench bench(512 << 10, 64 << 10, FlushOrder::kOrderFree);
  JournalSetup setup{bench.place, bench.store, FlushOrder::kOrderFree,   [&] { return bench.sync_all(); },
                     bench.start, bench.start, bench.start.sequence - 1, true};
  bench.journal = std::make_unique<Journal>(*bench.reactor, bench.staging, std::move(setup));
  RandomRecords random(5);
  for (int i = 0; i < 5; ++i) {
    REQUIRE(bench.reactor->run(bench.stage(random.next())).has_value());
    REQUIRE(bench.commit().has_value());
  }
  Collector found;
  REQUIRE(bench.replay(bench.start, found, true).has_value());
  CHECK(found.records.size() == 5);
  CHECK(bench.trusted == 0);
}

void require_stopped(Bench& bench) {
  CHECK(bench.journal->failed());
  CHECK_FALSE(bench.commit().has_value());
  CHECK_FALSE(bench.reactor->run(bench.journal->reserve(100)).has_value());
  // A restart may not replay what the kernel may have lost.
  CHECK(bench.memory.read_tail(make_stamp()).records.empty());
}

TEST_CASE("a failed sync of the journal's device stops it for good") {
  Bench bench;
  RandomRecords random(1);
  REQUIRE(bench.reactor->run(bench.stage(random.map())).has_value());
  REQUIRE(bench.commit().has_value());
  const JournalPoint before = bench.journal->point();
  REQUIRE(bench.reactor->run(bench.stage(random.map())).has_value());
  bench.file.fail_sync_after = 0;
  auto committed = bench.commit();
  REQUIRE_FALSE(committed.has_value());
  CHECK(committed.error().errno_value == EIO);
  CHECK(bench.journal->durable() == before.position);
  bench.file.fail_sync_after = -1;
  require_stopped(bench);
}

TEST_CASE("a failed write of a batch stops it for good") {
  Bench bench;
  REQUIRE(bench.reactor->run(bench.stage(RandomRecords(1).map())).has_value());
  bench.file.fail_write_after = 0;
  CHECK_FALSE(bench.commit().has_value());
  require_stopped(bench);
}

TEST_CASE("a failed sync of the data stops it, and no batch names that data") {
  Bench bench;
  REQUIRE(bench.reactor->run(bench.stage(RandomRecords(1).map())).has_value());
  bench.during_sync = [&] {
    return [](Bench&) -> Task<Result<>> { co_return fail(ErrorKind::kIo, EIO, "gone"); }(bench);
  };
  CHECK_FALSE(bench.commit().has_value());
  CHECK(bench.file.writes == 0);
  bench.during_sync = nullptr;
  require_stopped(bench);
}

Task<void> reserve_and_note(Bench& bench, std::uint64_t bytes, int& done, bool& ok) {
  auto reserved = co_await bench.journal->reserve(bytes);
  ok = reserved.has_value();
  ++done;
}

TEST_CASE("reserve waits while the staging area is full and goes on after a commit") {
  Bench bench(4 << 20, 64 << 10);
  int pressed = 0;
  bench.journal->on_pressure([&] { ++pressed; });
  int done = 0;
  bool ok = false;
  RandomRecords random(2);
  while (bench.staging.has_room(4096)) {
    const Record record = random.checksum();
    if (!bench.staging.has_room(encoded_bytes(record))) break;
    REQUIRE(bench.reactor->run(bench.stage(record)).has_value());
  }
  spawn(reserve_and_note(bench, 16 << 10, done, ok));
  CHECK(done == 0);
  CHECK(pressed == 1);
  REQUIRE(bench.commit().has_value());
  bench.reactor->run([](Scheduler& scheduler) -> Task<void> {
    co_await sleep_for(scheduler, std::chrono::milliseconds{1});
  }(*bench.reactor));
  CHECK(done == 1);
  CHECK(ok);
  CHECK(bench.staging.reserved_bytes() >= 16 << 10);
  bench.journal->unreserve(16 << 10);
  CHECK(bench.staging.reserved_bytes() == 0);
}

TEST_CASE("a full ring blocks new records until it is trimmed, and never what is already staged") {
  Bench bench(256 << 10, 256 << 10);
  int done = 0;
  bool ok = false;
  RandomRecords random(2);
  bool pressed = false;
  bench.journal->on_pressure([&] { pressed = true; });
  while (!pressed) {
    spawn(reserve_and_note(bench, 4096, done, ok));
    if (pressed) break;
    bench.journal->stage(random.checksum());
    bench.journal->unreserve(4096);
    REQUIRE(bench.commit().has_value());
  }
  const int before = done;
  CHECK(bench.journal->wants_checkpoint());
  CHECK(bench.journal->used_bytes() > (256 << 10) / 2);
  bench.reactor->run([](Scheduler& scheduler) -> Task<void> {
    co_await sleep_for(scheduler, std::chrono::milliseconds{1});
  }(*bench.reactor));
  CHECK(done == before);
  REQUIRE(bench.commit().has_value());
  bench.journal->trim(bench.journal->point());
  CHECK(bench.journal->used_bytes() == 0);
  bench.reactor->run([](Scheduler& scheduler) -> Task<void> {
    co_await sleep_for(scheduler, std::chrono::milliseconds{1});
  }(*bench.reactor));
  CHECK(done == before + 1);
  CHECK(ok);
}

TEST_CASE("those who wait for room are told when the journal stops") {
  Bench bench(4 << 20, 64 << 10);
  int done = 0;
  bool ok = true;
  spawn(reserve_and_note(bench, 1 << 20, done, ok));
  REQUIRE(done == 0);
  bench.journal->stop({ErrorKind::kIo, EIO, "gone"});
  bench.reactor->run([](Scheduler& scheduler) -> Task<void> {
    co_await sleep_for(scheduler, std::chrono::milliseconds{1});
  }(*bench.reactor));
  CHECK(done == 1);
  CHECK_FALSE(ok);
}

// Many batches, then damage somewhere in the ring: the chain ends at the batch that was hit, whole batches
// only.
TEST_CASE("damage anywhere ends the chain before the batch it hit") {
  Bench bench(1 << 20);
  RandomRecords random(6);
  std::vector<JournalPoint> points{bench.start};
  std::vector<std::size_t> counts{0};
  for (int batch = 0; batch < 20; ++batch) {
    for (std::uint64_t i = 1 + random.below(5); i > 0; --i)
      REQUIRE(bench.reactor->run(bench.stage(random.next())).has_value());
    REQUIRE(bench.commit().has_value());
    points.push_back(bench.journal->point());
    counts.push_back(bench.staged.size());
  }
  const std::vector<std::byte> whole = bench.file.bytes();
  for (int trial = 0; trial < 400; ++trial) {
    const std::size_t batch = random.below(20);
    const std::uint64_t begin = points[batch].ring_offset;
    const std::uint64_t payload_end = points[batch + 1].ring_offset;
    const std::uint64_t at = begin + random.below(payload_end - begin);
    if (whole[kRingOffset + at] == std::byte{0} && at > begin + 96) continue;  // perhaps the zeroes behind it
    CAPTURE(batch, at - begin);
    bench.file.bytes() = whole;
    bench.file.bytes()[kRingOffset + at] ^= std::byte{0x40};
    Collector found;
    auto end = bench.replay(bench.start, found);
    REQUIRE(end.has_value());
    REQUIRE(end->sequence == points[batch].sequence);
    REQUIRE(found.records.size() == counts[batch]);
  }
}

TEST_CASE("the batches of another store, or of another chain, are not continued") {
  Bench bench;
  RandomRecords random(6);
  REQUIRE(bench.reactor->run(bench.stage(random.next())).has_value());
  REQUIRE(bench.commit().has_value());
  Collector found;
  JournalPoint other_chain = bench.start;
  other_chain.hash ^= 1;
  REQUIRE(bench.replay(other_chain, found).has_value());
  JournalPoint other_sequence = bench.start;
  other_sequence.sequence += 1;
  REQUIRE(bench.replay(other_sequence, found).has_value());
  bench.store.bytes[3] ^= 1;
  REQUIRE(bench.replay(bench.start, found).has_value());
  CHECK(found.records.empty());
}

TEST_CASE("after a restart the chain goes on where the replay ended") {
  Bench bench;
  RandomRecords random(12);
  for (int run = 0; run < 20; ++run) {
    for (std::uint64_t i = random.below(20); i > 0; --i)
      REQUIRE(bench.reactor->run(bench.stage(random.next())).has_value());
    REQUIRE(bench.commit().has_value());
    Collector found;
    auto end = bench.replay(bench.start, found);
    REQUIRE(end.has_value());
    // A reader would see staged positions again: they only ever grow.
    const std::uint64_t position = std::max(end->position, bench.staging.end());
    bench.staging.restamp(make_stamp(static_cast<std::uint64_t>(run) + 2), position);
    JournalPoint next = *end;
    next.position = position;
    bench.open(next);
  }
  bench.require_replay(bench.start, true);
  CHECK(bench.staged.size() > 100);
}

}  // namespace
}  // namespace coppice
