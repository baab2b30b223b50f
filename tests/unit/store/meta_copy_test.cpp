// The copy of the metadata on a real pool, beside a MetaStore that is given the same batches: what is read
// back is always what that one holds.
#include "store/meta_copy.h"

#include <map>
#include <random>

#include "../pool/pool_fixture.h"
#include "pool/allocator.h"
#include "store/meta_restore.h"

namespace coppice {
namespace {

using Content = std::map<std::pair<int, std::string>, std::string>;

Content content_of(MetaStore& meta) {
  Content content;
  for (const Family family : {Family::kLeaf, Family::kChange, Family::kMeta}) {
    auto iterator = meta.iterate(family, Reach::kAll);
    for (iterator->seek(""); iterator->valid(); iterator->next())
      content[{static_cast<int>(family), std::string(iterator->key())}] = iterator->value();
  }
  return content;
}

struct CopyFixture : test::PoolFixture {
  std::unique_ptr<Allocator> allocator;
  std::unique_ptr<MetaCopy> copy;
  std::unique_ptr<MetaStore> meta = make_memory_meta_store();
  std::mt19937_64 random{7};
  std::uint64_t applied = 0;
  std::uint64_t space = UINT64_MAX;  // blocks that may still be taken
  bool stop = false;

  CopyFixture() {
    make_pool(2);
    start(0);
  }
  // A process of its own: what was in memory is gone.
  void start(std::uint64_t at) {
    copy.reset();
    allocator.reset();
    reopen();
    // On a busy machine the kernel lets go of the old descriptor, and its lock, a moment late.
    std::erase_if(notices,
                  [](const std::string& text) { return text.starts_with("waiting for the pool's lock"); });
    allocator = std::make_unique<Allocator>(*pool);
    must(allocator->load());
    copy = std::make_unique<MetaCopy>(*reactor, *pool, *allocator, notice());
    CopyOptions options;
    options.segment_blocks = 6;
    options.least_log_blocks = 20;
    options.retry = std::chrono::nanoseconds(0);
    copy->set_options(options);
    copy->set_take([this](std::uint64_t count, std::vector<PhysicalRun>& into) { return take(count, into); });
    must(copy->open(at));
    copy->keep();
  }
  Task<Result<bool>> take(std::uint64_t count, std::vector<PhysicalRun>& into) {
    if (count > space) co_return false;
    const bool taken = allocator->allocate(count, PhysicalBlock{0}, into);
    if (taken && space != UINT64_MAX) space -= count;
    co_return taken;
  }
  MetaBatch some(std::size_t bytes) {
    MetaBatch batch;
    while (batch.bytes() < bytes) {
      const std::string key = "key" + std::to_string(random() % 300);
      const auto family = static_cast<Family>(random() % 3);
      if (random() % 5 == 0) {
        batch.erase(family, key);
      } else if (family == Family::kChange) {
        batch.merge_or(family, key, std::string(1, static_cast<char>(random())));
      } else if (random() % 40 == 0) {
        batch.erase_range(family, key, key + "~");
      } else {
        batch.put(family, key, std::string(random() % 700, static_cast<char>(random())));
      }
    }
    return batch;
  }
  void write(std::size_t bytes) {
    const MetaBatch batch = some(bytes);
    must(copy->append({&batch, 1}, ++applied));
    REQUIRE(meta->write(batch, true));
  }
  void make_base() {
    REQUIRE(must(copy->begin_base(*meta)));
    must(copy->write_base(stop, MetaCopy::Pace::kAtOnce, UINT64_MAX));
  }
  Content copied(CopyPart part = CopyPart::kAll) {
    auto fresh = make_memory_meta_store();
    MetaStore* into = fresh.get();
    must(read_copy(*pool, into, part));
    return content_of(*fresh);
  }
  void tail_is_durable() { must(pool->write_meta_copy()); }
  Result<CopyFound> read() { return run(read_copy(*pool, nullptr, CopyPart::kAll)); }
};

TEST_CASE_METHOD(CopyFixture,
                 "base and log together are the metadata, through bases, segments and processes") {
  CHECK(read().error().kind == ErrorKind::kNotFound);
  write(3000);  // before there is a base nothing is kept
  make_base();
  CHECK(copied() == content_of(*meta));
  const std::uint64_t free_before = allocator->free_blocks() + copy->blocks();
  for (int round = 0; round < 40; ++round) {
    write(std::size_t{1} << (random() % 19));
    if (round % 7 == 3) make_base();
    if (round % 5 == 2) {
      start(applied);
      CHECK(notices.empty());
    }
    REQUIRE(copied() == content_of(*meta));
  }
  // What a base and a log left was freed.
  CHECK(allocator->free_blocks() + copy->blocks() == free_before);
}

TEST_CASE_METHOD(CopyFixture, "a base is due when the log has outgrown the last one") {
  CHECK(copy->wants_base());
  make_base();
  CHECK_FALSE(copy->wants_base());
  write(400'000);
  CHECK(copy->wants_base());
  make_base();
  CHECK_FALSE(copy->wants_base());
  CHECK(copied() == content_of(*meta));
}

TEST_CASE_METHOD(CopyFixture, "what the superblock did not say yet is found at the open") {
  make_base();
  for (int i = 0; i < 10; ++i) write(2000);
  start(applied);
  CHECK(notices.empty());
  CHECK(copied() == content_of(*meta));
  write(2000);
  start(applied);
  CHECK(copied() == content_of(*meta));
}

TEST_CASE_METHOD(CopyFixture, "a map is made of what the superblock says was synced, and of no more") {
  make_base();
  CHECK(copied(CopyPart::kSynced) == content_of(*meta));
  // No more than a segment holds: a new one is named by a superblock, with a mark.
  for (int i = 0; i < 2; ++i) write(2000);
  tail_is_durable();
  const Content marked = content_of(*meta);
  for (int i = 0; i < 2; ++i) write(2000);
  CHECK(copied(CopyPart::kSynced) == marked);
  CHECK(copied() == content_of(*meta));
  start(applied);
  tail_is_durable();
  CHECK(copied(CopyPart::kSynced) == marked);  // until the next batch is synced behind them
  write(2000);
  tail_is_durable();
  CHECK(copied(CopyPart::kSynced) == content_of(*meta));
  CHECK(marked != content_of(*meta));
}

TEST_CASE_METHOD(CopyFixture, "a batch that was cut short is no batch, and is written over") {
  make_base();
  write(2000);
  const Content before = content_of(*meta);
  // The second frame of a batch fails: what stands of it is the first.
  int writes = 0;
  tap.fail = [&](const IoRequest& request) {
    return request.kind == IoRequest::Kind::kWrite && request.length_bytes <= 4096 && ++writes == 2 ? EIO : 0;
  };
  const MetaBatch batch = some(200'000);
  CHECK_FALSE(run(copy->append({&batch, 1}, 0)));
  tap.fail = {};
  start(applied);
  CHECK(notices.empty());
  CHECK(copied() == before);
  write(60'000);
  CHECK(copied() == content_of(*meta));
  start(applied);
  make_base();
  write(500);
  CHECK(copied() == content_of(*meta));
}

TEST_CASE_METHOD(CopyFixture, "a log that ends before the map's start of redo is left behind") {
  make_base();
  write(2000);
  start(applied + 1);
  REQUIRE(notices.size() == 1);
  CHECK(notices[0].find("ends too early") != std::string::npos);
  CHECK_FALSE(copy->whole());
  make_base();
  write(2000);
  CHECK(copied() == content_of(*meta));
}

TEST_CASE_METHOD(CopyFixture, "damage before the mark is told, and not restored from") {
  REQUIRE(meta->write(some(9000), true));
  make_base();
  for (int i = 0; i < 6; ++i) write(3000);
  tail_is_durable();
  const MetaCopyPlace place = pool->superblock().meta_copy;
  const Content before = content_of(*meta);
  for (const PhysicalBlock block : {place.base, place.base.next(1), place.log, place.log.next(1)}) {
    const AlignedBuffer was = read_raw(block.offset_bytes());
    const AlignedBuffer harmed = read_raw(block.offset_bytes());
    harmed.data()[70] ^= std::byte{1};  // of the payload, or of a head
    must(write_blocks(pool->file(0), block.offset_bytes(), harmed.span()));
    auto found = read();
    REQUIRE_FALSE(found);
    CHECK(found.error().kind == ErrorKind::kCorrupt);
    must(write_blocks(pool->file(0), block.offset_bytes(), was.span()));
  }
  CHECK(copied() == before);
}

TEST_CASE_METHOD(CopyFixture, "blocks that something else owns are never written") {
  make_base();
  write(3000);
  const PhysicalBlock head = pool->superblock().meta_copy.log;
  copy.reset();
  allocator->own({head, 2});
  copy = std::make_unique<MetaCopy>(*reactor, *pool, *allocator, notice());
  must(copy->open(0));
  copy->keep();
  CHECK(notices.size() == 1);
  CHECK_FALSE(copy->whole());
  const std::uint64_t bytes = 3000;
  write(bytes);  // to nobody
  CHECK_FALSE(copy->whole());
}

TEST_CASE_METHOD(CopyFixture, "without space the copy is given up whole, and made again when there is some") {
  make_base();
  const std::uint64_t all = allocator->free_blocks() + copy->blocks();
  space = 0;
  write(300'000);
  CHECK_FALSE(copy->whole());
  CHECK(read().error().kind == ErrorKind::kNotFound);
  CHECK(allocator->free_blocks() == all);
  REQUIRE(notices.size() == 1);
  CHECK(notices[0].find("the pool is full") != std::string::npos);
  CHECK_FALSE(must(copy->begin_base(*meta)));
  write(5000);
  start(applied);
  CHECK_FALSE(copy->whole());
  space = UINT64_MAX;
  CHECK(copy->wants_base());
  make_base();
  write(5000);
  CHECK(copied() == content_of(*meta));
}

TEST_CASE_METHOD(CopyFixture, "a base that finds no space leaves the copy as it is") {
  make_base();
  write(300'000);
  space = 8;
  REQUIRE(must(copy->begin_base(*meta)));
  must(copy->write_base(stop, MetaCopy::Pace::kAtOnce, UINT64_MAX));
  CHECK(copy->whole());
  CHECK(copied() == content_of(*meta));
  space = UINT64_MAX;
  write(2000);
  make_base();
  CHECK(copied() == content_of(*meta));
}

TEST_CASE_METHOD(CopyFixture, "a writer gets the copy's space once") {
  make_base();
  const std::uint64_t all = allocator->free_blocks() + copy->blocks();
  CHECK(must(copy->give_up()));
  CHECK(allocator->free_blocks() == all);
  CHECK_FALSE(must(copy->give_up()));
}

TEST_CASE_METHOD(CopyFixture, "a base that is called off changes nothing") {
  make_base();
  write(9000);
  const std::uint64_t all = allocator->free_blocks() + copy->blocks();
  REQUIRE(must(copy->begin_base(*meta)));
  stop = true;
  must(copy->write_base(stop, MetaCopy::Pace::kAtOnce, UINT64_MAX));
  CHECK(allocator->free_blocks() + copy->blocks() == all);
  write(9000);
  CHECK(copied() == content_of(*meta));
  start(applied);
  CHECK(copied() == content_of(*meta));
}

}  // namespace
}  // namespace coppice
