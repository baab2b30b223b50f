// What recovery does about damage: each thing that is missing is made anew from what proves it, or the store
// is refused with the reason (docs/durability.md, "Damage").
#include <fmt/format.h>

#include "layout/leaf.h"
#include "store/engine.h"

namespace coppice {

namespace {

constexpr std::size_t kVersionsCounted = 4096;

// Adds the blocks of the next versions; false at the end.
Result<bool> add_versions(MetaIterator& versions, BlockSet& into) {
  for (std::size_t i = 0; i < kVersionsCounted; ++i, versions.next()) {
    if (!versions.valid()) {
      if (auto status = versions.status(); !status) return std::unexpected(status.error());
      return false;
    }
    const std::string_view value = versions.value();
    const auto leaf = Leaf::decode({reinterpret_cast<const std::byte*>(value.data()), value.size()});
    if (!leaf) return fail(ErrorKind::kCorrupt, 0, "the map holds a damaged leaf");
    for (const LeafRun& run : leaf->runs()) {
      if (run.kind == LeafRun::Kind::kData && !into.add({run.physical, run.count}))
        return fail(ErrorKind::kCorrupt, 0, "the map names a block that is outside the pool");
    }
  }
  return true;
}

// Every block that some version of the map, as it is stored, names.
Task<Result<>> collect_mapped(Scheduler& scheduler, MetaStore& meta, BlockSet& into) {
  const std::unique_ptr<MetaIterator> versions = co_await in_background(scheduler, [&meta] {
    auto made = meta.iterate(Family::kLeaf, Reach::kAll);
    made->seek("");
    return made;
  });
  while (true) {
    auto more = co_await in_background(scheduler, [&] { return add_versions(*versions, into); });
    if (!more) co_return std::unexpected(more.error());
    if (!*more) co_return Result<>{};
  }
}

}  // namespace

Outcome<> Engine::examine_staging(const Past& past) {
  const Superblock& superblock = pool_->superblock();
  if (past.tail.damaged) {
    return refuse(
        ErrorKind::kCorrupt,
        "the staging file is damaged: writes that were acknowledged and not yet flushed are lost; "
        "remove it to open the store without any of them, and restart the guests that were running");
  }
  const auto generation = staging_.stamped_generation(superblock.store);
  if (generation && *generation > superblock.open_generation) {
    return refuse(
        ErrorKind::kCorrupt,
        fmt::format("pool file {} is older than the store's staging file: its newest superblock is "
                    "lost, or it was restored from a copy; bring back the newest one, or remove the "
                    "staging file if the copy is what you want",
                    pool_->file(0).path()));
  }
  if (past.power_cut && !generation && !past.failed_sync && notice_) {
    notice_(
        "the store was not closed in order, and its staging file holds nothing of it: writes that were not "
        "flushed may be lost, as in a power cut; restart guests that were running");
  }
  return {};
}

// The map is written before the superblocks say so; between the two its last batch still stands in the ring.
Task<Outcome<>> Engine::examine_age(JournalPoint from) {
  if (from.sequence + 1 <= pool_->superblock().journal_tail_sequence || from.sequence == 0) {
    co_return Outcome<>{};
  }
  const bool stands = co_await ends_with_batch(place(), pool_->superblock().store, from);
  if (stands) co_return Outcome<>{};
  co_return refuse(ErrorKind::kCorrupt,
                   fmt::format("pool file {} is older than the store's map (batch {} is not in it): it was "
                               "restored from a copy, or its newest superblocks and journal are lost; bring "
                               "back the newest one",
                               pool_->file(0).path(), from.sequence));
}

Task<Outcome<>> Engine::examine_journal(JournalPoint end, const Past& past) {
  const Superblock& superblock = pool_->superblock();
  if (superblock.clean) co_return Outcome<>{};
  const StagingTail& tail = past.tail;
  const bool staged = tail.end_position != 0 && end.position < tail.start_position &&
                      staging_.had_record(past.stamp, end.position, tail.start_position);
  const std::uint64_t durable = co_await durable_beyond(place(), superblock.store, end);
  if (!staged && durable == 0) co_return Outcome<>{};
  co_return refuse(
      ErrorKind::kCorrupt,
      fmt::format("pool file {} is damaged: batch {} of its journal is lost, and with it flushed changes{}; "
                  "nothing was changed: restore the store from a backup",
                  pool_->file(0).path(), end.sequence + 1,
                  durable == 0 ? std::string() : fmt::format(" (up to batch {})", durable)));
}

Task<Outcome<>> Engine::repair_pages() {
  if (granules_.lost_pages() != 0 && notice_) {
    notice_(
        fmt::format("{} granule pages of the pool are damaged in both copies and made anew: a block that "
                    "was being written when the power went may answer an error",
                    granules_.lost_pages()));
  }
  Result<> done;
  for (const Allocator::SlabName name : allocator_.damaged_headers()) {
    if (notice_) {
      notice_(fmt::format("pool file {}: the header of slab {} is damaged and made anew",
                          pool_->file(name.member).path(), name.slab));
    }
    if (done) done = co_await pool_->write_slab_header(name.member, name.slab);
  }
  if (!done) co_return refuse(done.error(), "repairing the pool");
  const std::uint64_t doubtful = allocator_.doubtful_pages();
  const bool unsure = pool_->newer_may_be_lost() || sources_.meta->doubtful();
  if (doubtful == 0 && !unsure) co_return Outcome<>{};
  BlockSet mapped = allocator_.no_blocks();
  done = co_await collect_mapped(scheduler_, *sources_.meta, mapped);
  // A part of the map that can't be read answers errors; what is free is not needed to read the rest.
  if (!done && sources_.read_only && !unsure) co_return Outcome<>{};
  if (!done) {
    co_return refuse(
        unsure ? ErrorKind::kCorrupt : ErrorKind::kReadOnly,
        fmt::format("the pool's allocation bitmap is damaged and can't be made anew ({}): what is "
                    "free is not known, so nothing is written; export the disks to a new store",
                    done.error().text));
  }
  done = allocator_.rebuild(mapped);
  if (!done) {
    co_return refuse(
        ErrorKind::kCorrupt,
        "the store's map and the pool's allocation do not agree: a part of one is lost, or they are "
        "of different times; restore the store from a backup");
  }
  if (doubtful != 0 && notice_)
    notice_(fmt::format("{} allocation bitmap pages were damaged and are made anew from the map", doubtful));
  done = co_await checkpointer_->run();
  allocator_.rewrite_rebuilt();
  if (done) done = co_await checkpointer_->run();
  if (!done) co_return refuse(done.error(), "repairing the pool");
  co_return Outcome<>{};
}

}  // namespace coppice
