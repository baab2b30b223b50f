#include "store/engine.h"

#include <fmt/format.h>

#include "base/mutation.h"
#include "store/recovery.h"

namespace coppice {

namespace {

// The cache's share for checksum pages; the rest is the map's.
constexpr std::size_t kChecksumShare = 4;
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
      map_(scheduler, *sources_.meta, tree_, cache_bytes - cache_bytes / kChecksumShare),
      staging_(std::move(sources_.staging)),
      growing_(scheduler),
      space_freed_(scheduler) {}

Engine::~Engine() = default;

JournalPlace Engine::place() {
  const Superblock& superblock = pool_->superblock();
  return {&pool_->file(0), superblock.journal_offset_bytes, superblock.journal_bytes};
}

// Reads what the last checkpoint left; answers where redo starts.
Task<Outcome<JournalPoint>> Engine::load() {
  const Superblock& superblock = pool_->superblock();
  auto stored = sources_.meta->get(Family::kMeta, kStoreKey);
  if (!stored) co_return refuse(stored.error(), "the store's map");
  const auto identity = *stored ? decode_store(**stored) : std::nullopt;
  if (!identity || identity->store != superblock.store || identity->metadata != superblock.metadata) {
    co_return refuse(
        ErrorKind::kCorrupt,
        fmt::format("the store's map belongs to another store than pool {}: bring back the right one",
                    pool_->file(0).path()));
  }
  JournalPoint from{0, 0, 0, kFirstPosition};
  auto applied = sources_.meta->get(Family::kMeta, kAppliedKey);
  if (!applied) co_return refuse(applied.error(), "the store's map");
  if (*applied) {
    auto value = decode_applied(**applied);
    if (!value) co_return refuse(ErrorKind::kCorrupt, "the store's map: where the journal begins is damaged");
    from = point_of(*value);
  }
  if (from.sequence + 1 < superblock.journal_tail_sequence) {
    co_return refuse(
        ErrorKind::kCorrupt,
        fmt::format("the store's map is older (batch {}) than the pool's journal reaches back ({}): it "
                    "was restored from a copy; bring back the newest one",
                    from.sequence, superblock.journal_tail_sequence));
  }
  auto suspects = sources_.meta->get(Family::kMeta, kSuspectsKey);
  if (!suspects) co_return refuse(suspects.error(), "the store's map");
  if (*suspects) {
    auto value = decode_suspects(**suspects);
    if (!value)
      co_return refuse(ErrorKind::kCorrupt, "the store's map: its list of suspect epochs is damaged");
    suspect_epochs_.insert(value->epochs.begin(), value->epochs.end());
  }
  auto loaded = tree_.load(*sources_.meta);
  if (!loaded) co_return refuse(loaded.error(), "the store's map");
  loaded = co_await allocator_.load();
  if (!loaded) co_return refuse(loaded.error(), "the pool's allocation bitmap");
  co_return from;
}

void Engine::use_journal(std::unique_ptr<Journal> journal) {
  journal_ = std::move(journal);
  parts_.reset(new Parts{scheduler_, *pool_, allocator_, checksums_, granules_, pending_, *journal_, map_,
                         tree_, counters_, growing_, space_freed_, suspect_epochs_,
                         [this] { return reclaiming; },
                         [this](const char* what, std::uint64_t offset, PhysicalBlock address) {
                           if (notice_) {
                             notice_(fmt::format("{} at byte {} of a disk: block {} of pool {}", what, offset,
                                                 address.block(), pool_->file(address.member()).path()));
                           }
                         }});
  checkpointer_ = std::make_unique<Checkpointer>(*parts_, *sources_.meta);
  reclaimer_ = std::make_unique<Reclaimer>(tree_, map_, *journal_, allocator_, pending_);
  journal_->on_durable([this] {
    if (pending_.settle(journal_->durable())) space_freed_.wake_all();
  });
}

// A head writes in place in its current epoch only. Above it may stand dead nodes: snapshots that were not
// completed when the power went, whose epochs the head wrote in as well.
void Engine::note_suspect_epochs() {
  for (const auto& [id, disk] : tree_.disks()) {
    const TreeNode* node = tree_.node(disk.value.head);
    if (node == nullptr) continue;
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

Task<Outcome<>> Engine::recover(JournalPoint from) {
  const Superblock& superblock = pool_->superblock();
  const bool clean = superblock.clean;
  const Uuid store = superblock.store;
  const std::uint64_t generation = superblock.open_generation;
  const StagingStamp stamp{sources_.boot, store, generation};
  const StagingTail tail = staging_.read_tail(stamp);
  const bool power_cut = !clean && tail.end_position == 0 && generation != 0;
  auto marked = co_await granules_.load(power_cut);
  if (!marked) co_return refuse(marked.error(), "the pool's granule marks");

  Redo redo(tree_, map_, allocator_, checksums_);
  auto end = co_await replay_journal(place(), store, from, redo);
  if (!end) co_return refuse(end.error(), "replaying the pool's journal");
  std::size_t unflushed = 0;
  for (const StagingTail::Entry& entry : tail.records) {
    if (entry.position < end->position) continue;  // in the journal already
    if (mutated(Mutation::kTailNotReplayed)) break;
    auto applied = co_await redo.apply(entry.record);
    if (!applied) co_return refuse(applied.error(), "replaying the staging file");
    ++unflushed;
  }
  std::vector<PhysicalRun> writing = tail.in_flight;
  if (mutated(Mutation::kSlotsNotSettled)) writing.clear();
  auto in_flight = co_await settle_in_flight(*pool_, allocator_, checksums_, writing);
  if (!in_flight) co_return refuse(in_flight.error(), "reading the blocks that were being written");
  if (redo.applied() != 0 && notice_) {
    notice_(fmt::format("the store was not closed in order: {} changes replayed, {} of them not yet flushed",
                        redo.applied(), unflushed));
  }

  if (power_cut) note_suspect_epochs();
  if (tail.end_position != 0 && !mutated(Mutation::kTailNotJournaled)) {
    // The tail keeps its positions, so that a second recovery knows which of its records the journal has.
    staging_.resume(stamp, tail);
    end->position = std::max(end->position, tail.start_position);
  } else {
    staging_.restamp({store, store, 1}, end->position);  // a stamp that no boot has
  }
  use_journal(std::make_unique<Journal>(
      scheduler_, place(), store, staging_, [this] { return pool_->sync_all(); }, from, *end));
  // What redo read may be in the device's cache only; nothing that follows from it may be durable before it.
  for (std::uint64_t member = 0; member < pool_->members().size(); ++member) pool_->file(member).note_write();
  Result<> done;
  if (!mutated(Mutation::kRecoveryTrustsUnsynced)) done = co_await pool_->sync_all();
  if (done) done = co_await journal_tail(*in_flight);
  if (done) done = co_await checkpointer_->run();
  if (!done) co_return refuse(done.error(), "recovering the store");

  const JournalPoint point = journal_->point();
  done = co_await pool_->write_superblocks({false, generation + 1, point.sequence + 1});
  if (!done) co_return refuse(done.error(), "opening the pool");
  staging_.restamp({sources_.boot, store, generation + 1}, point.position);
  use_journal(std::make_unique<Journal>(
      scheduler_, place(), store, staging_, [this] { return pool_->sync_all(); }, point, point));
  co_return Outcome<>{};
}

Task<Outcome<>> Engine::start() {
  auto from = co_await load();
  if (!from) co_return std::unexpected(from.error());
  auto recovered = co_await recover(*from);
  co_return recovered;
}

Task<Outcome<>> Engine::stop() {
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
