#include "machine.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/hash.h"
#include "content.h"
#include "layout/superblock.h"
#include "layout/tree_values.h"
#include "store/meta_restore.h"

namespace coppice::sim {

namespace {

constexpr std::uint64_t kJournalOffset = kSuperblockAreaBytes;

// Staging memory that belongs to the machine.
class LentStaging final : public StagingMemory {
 public:
  explicit LentStaging(std::span<std::byte> bytes) : bytes_(bytes) {}
  std::span<std::byte> bytes() override { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

// The image that disks stand on. It outlives every crash.
class SimBase final : public BlockFile {
 public:
  SimBase(SimScheduler& scheduler, std::span<const std::byte> bytes) : scheduler_(scheduler), bytes_(bytes) {}
  void submit(IoRequest& request) override {
    scheduler_.after(std::chrono::microseconds(20), [this, &request] {
      const bool inside = request.offset_bytes + request.length_bytes <= bytes_.size();
      request.error = request.kind == IoRequest::Kind::kRead && inside ? 0 : EIO;
      if (request.error == 0)
        std::memcpy(request.memory, bytes_.data() + request.offset_bytes, request.length_bytes);
      request.latch->arrive();
    });
  }
  [[nodiscard]] std::uint64_t size_bytes() const override { return bytes_.size(); }
  Result<> extend(std::uint64_t) override { return fail(ErrorKind::kReadOnly, EROFS, "a base"); }
  Result<bool> try_lock() override { return true; }
  [[nodiscard]] const std::string& path() const override { return path_; }

 private:
  SimScheduler& scheduler_;
  std::span<const std::byte> bytes_;
  std::string path_ = "/sim/base";
};

class SimBases final : public BaseImages {
 public:
  SimBases(SimScheduler& scheduler, std::span<const std::byte> bytes)
      : scheduler_(scheduler), bytes_(bytes) {}
  Outcome<BaseValue> identify(const BaseSource& source) override {
    BaseValue value;
    value.size_bytes = bytes_.size();
    value.path = source.path;
    value.samples = hash64(bytes_, 0);
    return value;
  }
  BasePointer open(const BaseValue& value) override {
    auto base = std::make_shared<Base>();
    base->size_bytes = value.size_bytes;
    if (value.samples == hash64(bytes_, 0)) {
      base->file = std::make_unique<SimBase>(scheduler_, bytes_);
    } else {
      base->problem = "was changed";
    }
    return base;
  }

 private:
  SimScheduler& scheduler_;
  std::span<const std::byte> bytes_;
};

std::vector<std::byte> base_image() {
  std::vector<std::byte> bytes(kBaseSectors * kSectorBytes);
  for (std::uint64_t sector = 0; sector < kBaseSectors; ++sector)
    fill_sector(std::span(bytes).subspan(sector * kSectorBytes, kSectorBytes), base_value(sector));
  return bytes;
}

Uuid make_uuid(std::uint64_t a, std::uint64_t b) {
  Uuid uuid;
  std::memcpy(uuid.bytes.data(), &a, 8);
  std::memcpy(uuid.bytes.data() + 8, &b, 8);
  return uuid;
}

std::string member_path(std::uint64_t member) {
  return "/sim/pool" + std::to_string(member);
}

}  // namespace

void be_quiet(Shape& shape, Rng& rng) {
  using std::chrono::microseconds;
  shape.quiet = true;
  if (rng.once_in(2)) shape.housekeeping.commit_interval = microseconds(rng.between(300, 1500));
  shape.housekeeping.most_commit_interval = shape.housekeeping.commit_interval;
  shape.housekeeping.checkpoint_interval = microseconds(rng.between(1000, 4000));
}

Shape random_shape(Rng& rng) {
  using std::chrono::microseconds;
  Shape shape;
  shape.members = rng.once_in(4) ? 2 : 1;
  shape.max_slabs = rng.between(1, 3);
  shape.slab_blocks = rng.once_in(6) ? 2048 : 256;
  if (shape.slab_blocks == 2048) shape.max_slabs = 1;
  shape.journal_bytes = (std::uint64_t{256} << 10) << rng.below(3);
  shape.staging_bytes = (std::uint64_t{256} << 10) << rng.below(2);
  shape.cache_bytes = (std::size_t{8} << 10) << rng.below(5);
  shape.housekeeping.tick = microseconds(rng.between(200, 2000));
  // However long a sync takes: lives are short here.
  shape.housekeeping.commit_interval = microseconds(rng.between(500, 40000));
  shape.housekeeping.most_commit_interval = shape.housekeeping.commit_interval;
  shape.housekeeping.checkpoint_interval = microseconds(rng.between(1000, 100000));
  shape.housekeeping.reclaim_leaves = rng.between(1, 3);
  if (rng.once_in(4)) be_quiet(shape, rng);
  shape.housekeeping.pending_blocks = rng.between(16, 400);
  shape.housekeeping.settled_at_once = 1 + shape.housekeeping.pending_blocks % 8;
  // Else hardly a sweep would meet a commit, as those that somebody waits for do.
  shape.housekeeping.rest_beside_commits = shape.housekeeping.pending_blocks % 4 == 0;
  shape.grows = rng.once_in(2);
  SpaceOptions& space = shape.housekeeping.space;
  space.prepare = rng.once_in(3);
  space.give_back = rng.once_in(2);
  space.settle = microseconds(rng.below(2000));
  space.look = microseconds(rng.between(100, 3000));
  space.idle = microseconds(rng.between(100, 5000));
  space.pause = microseconds(rng.between(1, 300));
  space.bytes_per_second = rng.between(50, 2000) << 20;
  space.step_bytes = rng.between(1, 64) * kBlockBytes;
  space.unit_blocks = rng.between(4, 32);
  space.spare_blocks = rng.between(2, 200);
  CopyOptions& copy = shape.housekeeping.copy;
  copy.segment_blocks = rng.between(2, 16);
  copy.least_log_blocks = rng.between(4, 60);
  copy.bytes_per_second = rng.between(1, 400) << 20;
  copy.retry = microseconds(rng.between(100, 20000));
  shape.housekeeping.checkpoint = {
      .batch_bytes = shape.cache_bytes / 16, .step_bytes = shape.cache_bytes / 32, .batches = 4};
  if (rng.once_in(2)) {
    shape.housekeeping.dirty = {.map_bytes = shape.cache_bytes / rng.between(2, 8),
                                .checksum_pages = rng.between(1, 8),
                                .longest_wait = microseconds(rng.between(10, 2000))};
  } else {
    shape.housekeeping.dirty = DirtyOptions{};
  }
  if (rng.once_in(5)) shape.flush_order = FlushOrder::kConservative;
  return shape;
}

Machine::Machine(Rng& source, const Shape& given)
    : rng(source),
      shape(given),
      staging(kStagingRingOffset + given.staging_bytes),
      base(base_image()),
      boot(make_uuid(source.next(), 1)),
      store(make_uuid(source.next(), 2)) {
  format();
}

// As Pool::create() leaves it, with a geometry that it would not choose: tiny.
void Machine::format() {
  const Uuid metadata = make_uuid(rng.next(), 3);
  for (std::uint64_t member = 0; member < shape.members; ++member) {
    Superblock superblock;
    superblock.store = store;
    superblock.metadata = metadata;
    superblock.generation = 1;
    superblock.member = static_cast<std::uint32_t>(member);
    superblock.member_count = static_cast<std::uint32_t>(shape.members);
    superblock.clean = true;
    superblock.journal_offset_bytes = member == 0 ? kJournalOffset : 0;
    superblock.journal_bytes = member == 0 ? shape.journal_bytes : 0;
    superblock.slabs_offset_bytes = kJournalOffset + superblock.journal_bytes;
    superblock.slab_blocks = shape.slab_blocks;
    superblock.max_slabs = shape.max_slabs;
    superblock.grows = shape.grows;
    const std::uint64_t slab_bytes = shape.slab_blocks * kBlockBytes;
    // Sometimes the file system below is full before the member is.
    const std::uint64_t room = rng.once_in(4) && shape.max_slabs > 1 ? shape.max_slabs - 1 : shape.max_slabs;
    SimFile& file = disk.add(member_path(member), superblock.slabs_offset_bytes,
                             superblock.slabs_offset_bytes + room * slab_bytes);
    file.device = !shape.grows;
    BlockBytes image{};
    encode_superblock(superblock, image);
    for (const std::uint64_t offset : kSuperblockOffsets) file.store(offset, image);
  }
  MetaBatch batch;
  batch.put(Family::kMeta, std::string(kStoreKey), encode(StoreValue{store, metadata}));
  (void)meta.open()->write(batch, true);
}

void Machine::crash(Crash kind) {
  disk.faults = {};
  disk.syncs_under_way = 0;
  disk.stall_next_read = disk.stall_next_write = disk.stall_next_sync = {};
  lose_map = rng.once_in(3);
  if (kind == Crash::kKill) return disk.kill(rng);
  disk.power_cut(rng);
  meta.power_cut(rng);
  boot = make_uuid(rng.next(), 1);
  // The file may hold anything of its past.
  if (rng.once_in(2)) std::fill(staging.begin(), staging.end(), std::byte{0});
}

// As `check --repair` does it: beside the old one, then in its place.
Task<Outcome<>> Process::restore_map(Pool& pool) {
  auto fresh = make_memory_meta_store();
  MetaStore* into = fresh.get();
  auto read = co_await read_copy(pool, into, CopyPart::kSynced);
  if (!read) co_return refuse(read.error(), "the map's copy");
  machine.meta.lose();
  const auto lost = machine.meta.open();
  MetaBatch all;
  for (const Family family : {Family::kLeaf, Family::kChange, Family::kMeta}) {
    auto iterator = fresh->iterate(family, Reach::kAll);
    for (iterator->seek(""); iterator->valid(); iterator->next())
      all.put(family, std::string(iterator->key()), std::string(iterator->value()));
  }
  (void)lost->write(all, true);
  machine.lose_map = false;
  ++machine.maps_lost;
  co_return Outcome<>{};
}

Task<Outcome<>> Process::open() {
  const auto open_file = [this](const std::string& path,
                                BlockFileOptions) -> Result<std::unique_ptr<BlockFile>> {
    return std::make_unique<SimBlockFile>(scheduler, machine.rng, machine.disk, *machine.disk.find(path));
  };
  const Notice notice = [this](const std::string& text) {
    notices += text + "\n";
    char purged[64];
    if (std::sscanf(text.c_str(), "the pool is full: disk %63s is removed", purged) == 1)
      machine.purged.insert(purged);
  };
  std::vector<std::string> paths;
  for (std::uint64_t member = 0; member < machine.shape.members; ++member)
    paths.push_back(member_path(member));
  PoolOptions options{paths, machine.store, open_file, notice, std::chrono::seconds(1)};
  auto pool = co_await Pool::open(scheduler, std::move(options));
  if (!pool) co_return std::unexpected(pool.error());
  if (machine.lose_map && (*pool)->superblock().meta_copy.whole()) {
    auto made = co_await restore_map(**pool);
    if (!made) co_return made;
  }
  EngineSources sources{open_file, machine.meta.open(), std::make_unique<LentStaging>(machine.staging),
                        machine.boot, machine.shape.flush_order};
  sources.bases = std::make_shared<SimBases>(scheduler, machine.base);
  auto made = std::make_unique<Engine>(scheduler, std::move(*pool), std::move(sources),
                                       machine.shape.cache_bytes, notice);
  engine = made.get();
  auto started = co_await made->start();
  HousekeepingOptions housekeeping = machine.shape.housekeeping;
  housekeeping.wall_clock = [this] { return machine.wall_ms; };
  // Kept either way: after a failure nothing of it may be destroyed under a request in flight.
  store = std::make_unique<StoreImpl>(scheduler, std::move(made), std::move(housekeeping));
  co_return started;
}

}  // namespace coppice::sim
