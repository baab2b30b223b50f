#include "store/engine.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/mutation.h"
#include "disk/space.h"

namespace coppice {

namespace {

// The cache's share for checksum pages; the rest is the map's.
constexpr std::size_t kChecksumShare = 4;
// However small the cache: a checkpoint for every few writes would be no use.
constexpr std::size_t kLeastDirtyMapBytes = std::size_t{4} << 20;
constexpr std::size_t kLeastDirtyPages = 4096;
// Positions start above zero, so that "nothing" and "the first record" differ.
constexpr std::uint64_t kFirstPosition = 4096;

JournalPoint point_of(const AppliedValue& applied) {
  return {applied.sequence, applied.batch_hash, applied.ring_offset, applied.position};
}

}  // namespace

Engine::Engine(Scheduler& scheduler, std::unique_ptr<Pool> pool, EngineSources sources,
               std::size_t cache_bytes, Notice notice)
    : scheduler_(scheduler),
      sources_(std::move(sources)),
      notice_(std::move(notice)),
      cache_bytes_(cache_bytes),
      pool_(std::move(pool)),
      allocator_(*pool_),
      checksums_(scheduler, *pool_, cache_bytes / kChecksumShare),
      granules_(scheduler, *pool_),
      pending_(allocator_),
      bases_(tree_),
      map_(scheduler, *sources_.meta, tree_, cache_bytes - cache_bytes / kChecksumShare),
      staging_(std::move(sources_.staging)),
      growing_(scheduler),
      space_freed_(scheduler),
      gate_(scheduler),
      copy_(scheduler, *pool_, allocator_, notice_) {
  copy_.set_take(
      [this](std::uint64_t count, std::vector<PhysicalRun>& into) { return take_for_copy(count, into); });
}

Engine::~Engine() = default;

// Of the map less than its share of the cache. Checksum pages get dirty by every write, and each costs a page
// more to be written: as many as take three times their share.
DirtyOptions Engine::dirty_options() const {
  const std::size_t pages = (cache_bytes_ - cache_bytes_ / kChecksumShare) / kBlockBytes;
  return {.map_bytes = std::max(cache_bytes_ / 2, kLeastDirtyMapBytes),
          .checksum_pages = std::max(pages, kLeastDirtyPages)};
}

JournalPlace Engine::place() {
  const Superblock& superblock = pool_->superblock();
  return {&pool_->file(0), superblock.journal_offset_bytes, superblock.journal_bytes};
}

std::string Engine::map_failure(const Error& error) const {
  return fmt::format("the store's map: {}; {}", error.text,
                     map_remedy(pool_->superblock().meta_copy.whole()));
}

// Reads what the last checkpoint left; answers where redo starts.
Task<Outcome<JournalPoint>> Engine::load() {
  const Superblock& superblock = pool_->superblock();
  auto stored = sources_.meta->get(Family::kMeta, kStoreKey);
  if (!stored) co_return refuse(stored.error().kind, map_failure(stored.error()));
  const auto identity = *stored ? decode_store(**stored) : std::nullopt;
  if (!identity || identity->store != superblock.store || identity->metadata != superblock.metadata) {
    co_return refuse(
        ErrorKind::kCorrupt,
        fmt::format("the store's map belongs to another store than pool {}: bring back the right one, or {}",
                    pool_->file(0).path(), map_remedy(superblock.meta_copy.whole())));
  }
  JournalPoint from{0, 0, 0, kFirstPosition};
  auto applied = sources_.meta->get(Family::kMeta, kAppliedKey);
  if (!applied) co_return refuse(applied.error().kind, map_failure(applied.error()));
  if (*applied) {
    auto value = decode_applied(**applied);
    if (!value) co_return refuse(ErrorKind::kCorrupt, "the store's map: where the journal begins is damaged");
    from = point_of(*value);
  }
  if (from.sequence + 1 < superblock.journal_tail_sequence) {
    co_return refuse(
        ErrorKind::kCorrupt,
        fmt::format("the store's map is older (batch {}) than the pool's journal reaches back ({}): it "
                    "was restored from a copy; bring back the newest one, or {}",
                    from.sequence, superblock.journal_tail_sequence,
                    map_remedy(superblock.meta_copy.whole())));
  }
  auto suspects = sources_.meta->get(Family::kMeta, kSuspectsKey);
  if (!suspects) co_return refuse(suspects.error().kind, map_failure(suspects.error()));
  if (*suspects) {
    auto value = decode_suspects(**suspects);
    if (!value)
      co_return refuse(ErrorKind::kCorrupt, "the store's map: its list of suspect epochs is damaged");
    suspect_epochs_.insert(value->epochs.begin(), value->epochs.end());
  }
  auto loaded = tree_.load(*sources_.meta);
  if (!loaded) co_return refuse(loaded.error().kind, map_failure(loaded.error()));
  loaded = co_await allocator_.load();
  if (!loaded) co_return refuse(loaded.error(), "the pool's allocation bitmap");
  auto fits = co_await examine_age(from);
  if (!fits) co_return std::unexpected(fits.error());
  if (!read_only()) co_await copy_.open(from.sequence);
  co_return from;
}

namespace {

Task<bool> no_room() {
  co_return false;
}

}  // namespace

void Engine::use_journal(JournalSetup setup) {
  journal_ = std::make_unique<Journal>(scheduler_, staging_, std::move(setup));
  dirty_ = std::make_unique<DirtyLimit>(scheduler_, *journal_, map_, checksums_);
  parts_.reset(new Parts{scheduler_,
                         *pool_,
                         allocator_,
                         checksums_,
                         granules_,
                         pending_,
                         *journal_,
                         map_,
                         tree_,
                         counters_,
                         growing_,
                         space_freed_,
                         gate_,
                         bases_,
                         charges_,
                         *dirty_,
                         suspect_epochs_,
                         [this] { return checkpointer_->run(); },
                         [this] { return reclaiming; },
                         [this] { return copy_.give_up(); },
                         [this] { return make_room ? make_room() : no_room(); },
                         [this](const char* what, std::uint64_t offset, PhysicalBlock address) {
                           if (notice_) {
                             notice_(fmt::format("{} at byte {} of a disk: block {} of pool {}", what, offset,
                                                 address.block(), pool_->file(address.member()).path()));
                           }
                         }});
  checkpointer_ = std::make_unique<Checkpointer>(*parts_, *sources_.meta, copy_);
  reclaimer_ = std::make_unique<Reclaimer>(tree_, map_, *journal_, allocator_, pending_, gate_, charges_);
  change_folder_ = std::make_unique<ChangeFolder>(*parts_, *sources_.meta, *checkpointer_);
  // What failed to be synced may still be there to see: the next open must not take it for a kill's.
  pool_->on_failed_sync([this](const Error& why) {
    if (!mutated(Mutation::kSyncFailsQuietly)) journal_->stop(why);
  });
  settle_at_once();
}

void Engine::settle_at_once() {
  settle_pending(*parts_);
  journal_->on_durable([this] { settle_pending(*parts_); });
}

// A head writes in place in its current epoch only. Above it may stand dead nodes: snapshots that were not
// completed when the power went, whose epochs the head wrote in as well. A strict disk writes nothing in
// place; what it wrote so before it became strict was durable by then.
void Engine::note_suspect_epochs() {
  for (const auto& [id, disk] : tree_.disks()) {
    const TreeNode* node = tree_.node(disk.value.head);
    if (node == nullptr || disk.value.strict()) continue;
    suspect_epochs_.insert(tree_.epoch_of(*node));
    node = tree_.node(node->value.parent);
    while (node != nullptr && node->value.state == NodeState::kDead) {
      suspect_epochs_.insert(node->value.epoch);
      node = tree_.node(node->value.parent);
    }
  }
}

std::shared_ptr<Head> Engine::head(NodeId id, const std::string& name) {
  std::weak_ptr<Head>& known = heads_[id];
  std::shared_ptr<Head> head = known.lock();
  if (!head) {
    head = std::make_shared<Head>(scheduler_, id, tree_.node(id)->value.branch, name);
    std::erase_if(heads_, [](const auto& entry) { return entry.second.expired(); });
    heads_[id] = head;
  }
  const TreeDisk* disk = tree_.disk(tree_.node(id)->value.disk);
  head->strict = disk != nullptr && disk->value.strict();
  return head;
}

std::vector<std::shared_ptr<Head>> Engine::open_heads() const {
  std::vector<std::shared_ptr<Head>> open;
  for (const auto& [id, known] : heads_) {
    if (auto head = known.lock()) open.push_back(std::move(head));
  }
  return open;
}

Task<Result<>> Engine::journal_tail(const std::vector<Record>& records) {
  for (const Record& record : records) {
    const std::uint64_t bytes = encoded_bytes(record);
    if (!journal_->staging().has_room(bytes)) {
      auto committed = co_await journal_->commit(journal_->staged());
      if (!committed) co_return committed;
    }
    journal_->stage(record);
  }
  auto committed = co_await journal_->commit(journal_->staged());
  co_return committed;
}

JournalSetup Engine::setup(JournalPoint tail, JournalPoint end, std::uint64_t durable_sequence) {
  const auto sync_all = [this] { return pool_->sync_all(); };
  return {place(), pool_->superblock().store, sources_.flush_order, sync_all, tail, end, durable_sequence};
}

// What an earlier process left in the staging file, and whether it was the machine that died.
Engine::Past Engine::look_back() {
  const Superblock& superblock = pool_->superblock();
  Past past;
  past.stamp = {sources_.boot, superblock.store, superblock.open_generation};
  past.tail = staging_.read_tail(past.stamp);
  past.power_cut = !superblock.clean && past.tail.end_position == 0 && superblock.open_generation != 0;
  past.failed_sync = past.power_cut && staging_.of_boot(sources_.boot);
  return past;
}

Task<Outcome<>> Engine::redo_tail(Redo& redo, const std::vector<Record>& tail, const TailProof& proof) {
  TailRedo tail_redo(redo, proof);
  for (const Record& record : tail) {
    if (mutated(Mutation::kTailNotReplayed)) break;
    auto applied = co_await tail_redo.apply(record);
    if (!applied) co_return refuse(applied.error(), "replaying the last changes");
  }
  if (redo.applied() != 0 && notice_) {
    notice_(
        fmt::format("the store was not closed in order: {} changes replayed, {} of them not yet flushed{}",
                    redo.applied(), tail.size(),
                    tail_redo.lost_blocks() == 0
                        ? std::string()
                        : fmt::format("; {} blocks written since the last flush are what they were before",
                                      tail_redo.lost_blocks())));
  }
  co_return Outcome<>{};
}

Task<Outcome<>> Engine::recover(JournalPoint from, Past past) {
  const Uuid store = past.stamp.store;
  auto marked = co_await granules_.load(past.power_cut);
  if (!marked) co_return refuse(marked.error(), "the pool's granule marks");

  Redo redo(tree_, map_, allocator_, checksums_);
  auto end = co_await replay_journal(place(), store, from, redo);
  if (!end) co_return refuse(end.error(), "replaying the pool's journal");
  auto whole = co_await examine_journal(end->point, past);
  if (!whole) co_return whole;
  for (StagingTail::Entry& entry : past.tail.records) {
    // Those below are in the journal already.
    if (entry.position >= end->point.position) end->tail.push_back(std::move(entry.record));
  }
  std::vector<PhysicalRun> writing = past.tail.in_flight;
  if (mutated(Mutation::kSlotsNotSettled)) writing.clear();
  std::vector<PhysicalRun> unsure = past.power_cut ? runs_of(end->tail) : writing;
  const bool inside = std::ranges::all_of(unsure, [&](PhysicalRun run) { return allocator_.contains(run); });
  if (!inside) co_return refuse(ErrorKind::kCorrupt, "the journal names a block that is outside the pool");
  TailProof proof;
  auto looked = co_await proof.look_at(*pool_, std::move(unsure));
  if (!looked) co_return refuse(looked.error(), "reading the last changes");
  auto redone = co_await redo_tail(redo, end->tail, proof);
  if (!redone) co_return redone;
  auto in_flight = co_await settle_in_flight(allocator_, checksums_, proof, writing);
  if (!in_flight) co_return refuse(in_flight.error(), "reading the blocks that were being written");

  if (past.power_cut) note_suspect_epochs();
  copy_.keep();
  pool_->end_write_back();
  if (past.tail.end_position != 0 && !mutated(Mutation::kTailNotJournaled)) {
    // The tail keeps its positions, so that a second recovery knows which of its records the journal has.
    staging_.resume(past.stamp, past.tail);
    end->point.position = std::max(end->point.position, past.tail.start_position);
  } else {
    // No generation of the store has this stamp; the boot tells of a sync that failed, perhaps in this
    // recovery.
    staging_.restamp({sources_.boot, store, 0}, end->point.position);
  }
  // Nothing is called durable before the checkpoint is: a recovery that dies is done again, tail and all.
  JournalSetup recovering = setup(from, end->point, end->durable_sequence);
  recovering.recovering = true;
  use_journal(std::move(recovering));
  // What was read may be in the device's cache only; nothing that follows from it may be durable before it.
  Result<> done;
  if (!mutated(Mutation::kRecoveryTrustsUnsynced)) done = co_await pool_->sync_read();
  if (done) done = co_await journal_tail(*in_flight);
  if (done) done = co_await checkpointer_->run(Checkpointer::Order::kPagesFirst);
  if (!done) co_return refuse(done.error(), "recovering the store");
  auto repaired = co_await repair_pages();
  if (!repaired) co_return repaired;

  const JournalPoint point = journal_->point();
  const std::uint64_t generation = past.stamp.open_generation + 1;
  done = co_await pool_->write_superblocks({false, generation, point.sequence + 1});
  if (!done) co_return refuse(done.error(), "opening the pool");
  staging_.restamp({sources_.boot, store, generation}, point.position);
  use_journal(setup(point, point, point.sequence));
  redo.release_freed();
  copy_.keep();
  recovered_ = true;
  co_return Outcome<>{};
}

// A pool grows for it as for data, but not before it is known what is free.
Task<Result<bool>> Engine::take_for_copy(std::uint64_t count, std::vector<PhysicalRun>& into) {
  if (allocator_.allocate(count, PhysicalBlock{0}, into)) co_return true;
  if (!recovered_) co_return false;
  auto taken = co_await take_spare_blocks(*parts_, count, into);
  co_return taken;
}

Task<void> Engine::renew_copy(const bool& stop, MetaCopy::Pace pace, std::uint64_t most_bytes) {
  if (!mutated(Mutation::kCopyUnquiet)) co_await checkpointer_->pause();
  auto begun = co_await copy_.begin_base(*sources_.meta);
  if (!mutated(Mutation::kCopyUnquiet)) checkpointer_->resume();
  Result<> done;
  if (!begun) done = std::unexpected(begun.error());
  if (begun && *begun) done = co_await copy_.write_base(stop, pace, most_bytes);
  if (!done) journal_->stop(done.error());
}

// The short life of a command makes a small base at its end; a large one is for who runs long, if it can
// wait.
Task<void> Engine::tidy_copy() {
  constexpr std::uint64_t kSmall = std::uint64_t{8} << 20;
  if (read_only() || !recovered_ || journal_->failed() || !wants_copy_base()) co_return;
  const bool stop = false;
  const std::uint64_t most = copy_.log_is_long() ? UINT64_MAX : kSmall;
  co_await renew_copy(stop, MetaCopy::Pace::kAtOnce, most);
}

Task<Outcome<>> Engine::start() {
  Past past = look_back();
  auto usable = examine_staging(past);
  if (!usable) co_return usable;
  if (past.failed_sync && !mutated(Mutation::kNoWriteBack)) pool_->begin_write_back();
  auto from = co_await load();
  if (!from) co_return std::unexpected(from.error());
  auto recovered = co_await recover(*from, std::move(past));
  // Redo has no need of them: what it maps is in its records.
  if (recovered) open_bases();
  co_return recovered;
}

void Engine::open_bases() {
  if (!sources_.bases) return;
  for (const auto& [root, value] : tree_.bases()) bases_.set(root, images().open(value));
}

Task<Outcome<>> Engine::stop() {
  co_await tidy_copy();
  auto done = co_await checkpointer_->run();
  if (done) done = co_await granules_.clear_all();
  if (done) {
    const JournalPoint point = journal_->point();
    done = co_await pool_->write_superblocks({true, pool_->superblock().open_generation, point.sequence + 1});
  }
  if (!done) co_return refuse(done.error(), "closing the store");
  staging_.invalidate();
  co_return Outcome<>{};
}

}  // namespace coppice
