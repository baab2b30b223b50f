#include "store/housekeeper.h"

#include <algorithm>

#include "base/mutation.h"
#include "coppice/aligned_buffer.h"
#include "coppice/next_turn.h"
#include "disk/head.h"
#include "disk/read_path.h"
#include "disk/space.h"
#include "tree/change_cursor.h"

namespace coppice {

namespace {

constexpr std::size_t kLeavesAtOnce = 64;
constexpr std::chrono::nanoseconds kLeastRest = std::chrono::microseconds(1);
constexpr std::chrono::nanoseconds kMostRest = std::chrono::milliseconds(50);
// While guests are at work a sweep has a thirty-second part of the time (docs/performance.md, "Deletion
// beside a guest"), a quarter if a verb waits for its end.
constexpr int kRestPerStep = 31;
constexpr int kRestWaitedFor = 3;
constexpr int kRestPerCommit = 31;

}  // namespace

Housekeeper::Housekeeper(Scheduler& scheduler, Engine& engine, const HousekeepingOptions& options)
    : scheduler_(scheduler),
      engine_(engine),
      options_(options),
      space_(scheduler, engine, options.space),
      running_(scheduler),
      ticks_(scheduler),
      proofs_(scheduler),
      deaths_(scheduler),
      reclaimed_(scheduler) {}

void Housekeeper::start() {
  last_commit_ = last_checkpoint_ = scheduler_.now();
  engine_.parts().journal.on_pressure([this] { ticks_.wake_all(); });
  engine_.parts().journal.on_durable([this] {
    settle_pending(engine_.parts(), options_.settled_at_once);
    proofs_.wake_all();
  });
  running_.add();
  spawn(tick());
  running_.add();
  spawn(pace());
  running_.add();
  spawn(settle_in_slices());
  if (engine_.read_only()) return;
  running_.add();
  engine_.reclaimer().set_leaves_per_step(options_.reclaim_leaves);
  engine_.reclaiming = engine_.reclaimer().has_work();
  spawn(reclaim());
  space_.start();
  engine_.copy().set_options(options_.copy);
  engine_.checkpointer().set_options(options_.checkpoint);
  engine_.parts().dirty.set(options_.dirty ? *options_.dirty : engine_.dirty_options());
  running_.add();
  spawn(keep_copy());
  running_.add();
  spawn(fold_changes());
  engine_.checkpointer().set_patient(true);
  if (engine_.parts().granules.any_suspect()) {
    running_.add();
    spawn(scrub_suspects());
  }
}

Task<void> Housekeeper::stop() {
  stopping_ = true;
  engine_.checkpointer().set_patient(false);
  ticks_.wake_all();
  proofs_.wake_all();
  deaths_.wake_all();
  co_await space_.stop();
  co_await running_.wait();
  engine_.parts().journal.on_pressure({});
  engine_.settle_at_once();
}

void Housekeeper::wake_reclaimer() {
  engine_.reclaiming = engine_.reclaimer().has_work();
  deaths_.wake_all();
}

Task<Result<>> Housekeeper::reclaimed() {
  const Tree& tree = engine_.tree();
  // A dead node that a scrub still keeps is work to come.
  const auto kept = [&tree] {
    return std::ranges::any_of(tree.dead_nodes(), [&tree](NodeId id) { return tree.node(id)->keeps != 0; });
  };
  while (reclaim_status_ && (engine_.reclaimer().has_work() || kept())) co_await reclaimed_.wait();
  co_return reclaim_status_;
}

// A heartbeat of its own, so that pressure can wake tick() at once.
Task<void> Housekeeper::pace() {
  while (!stopping_) {
    co_await sleep_for(scheduler_, options_.tick);
    ticks_.wake_all();
    space_.beat();
  }
  running_.done();
}

// While a device flushes, many do nothing else, and they take the longer the more was written since the last
// one (docs/performance.md, "Flushes nobody asked for").
bool Housekeeper::rested() const {
  const auto least = options_.commit_interval;
  const auto most = std::max(least, options_.most_commit_interval);
  const auto rest = std::clamp(commit_took_ * kRestPerCommit, least, most);
  return scheduler_.now() - last_commit_ >= rest;
}

bool Housekeeper::wants_commit() const {
  const Journal& journal = engine_.parts().journal;
  return journal.wants_commit() || (journal.staged() > journal.durable() && rested());
}

// Idle, or too much waits: what a commit leaves unproven until the next one gets its proof now.
bool Housekeeper::wants_proof() const {
  const Parts& parts = engine_.parts();
  if (parts.pending.blocks() > options_.pending_blocks) return true;
  return parts.pending.blocks() != 0 && parts.journal.staged() == parts.journal.durable() && rested();
}

bool Housekeeper::wants_checkpoint() {
  Parts& parts = engine_.parts();
  if (engine_.checkpointer().running()) return false;
  if (parts.journal.wants_checkpoint()) return true;
  if (parts.dirty.wants_checkpoint()) return true;
  const bool due = scheduler_.now() - last_checkpoint_ >= options_.checkpoint_interval;
  return due && parts.journal.used_bytes() != 0;
}

Task<void> Housekeeper::checkpoint() {
  last_checkpoint_ = scheduler_.now();
  // A failure stops the journal, and so everything that follows; whoever writes next is told.
  co_await engine_.checkpointer().run();
  running_.done();
}

Task<void> Housekeeper::tick() {
  Parts& parts = engine_.parts();
  while (!stopping_) {
    co_await ticks_.wait();
    if (stopping_ || parts.journal.failed()) continue;
    if (wants_checkpoint()) {
      running_.add();
      spawn(checkpoint());
    }
    const bool prove = wants_proof();
    if (!prove && !wants_commit()) continue;
    const auto began = scheduler_.now();
    if (prove) {
      co_await parts.journal.prove();
    } else {
      co_await parts.journal.commit(parts.journal.staged());
    }
    last_commit_ = scheduler_.now();
    commit_took_ = last_commit_ - began;
    // Of what nobody waited for, all at once; reads may have ended since.
    settle_pending(parts);
  }
  running_.done();
}

// Thousands of blocks may be settled by one commit: those who waited for it come first, and others in
// between.
Task<void> Housekeeper::settle_in_slices() {
  Parts& parts = engine_.parts();
  while (!stopping_) {
    co_await proofs_.wait();
    while (!stopping_ && parts.pending.due(parts.journal.proven())) {
      co_await NextTurn{scheduler_};
      settle_pending(parts, options_.settled_at_once);
    }
  }
  running_.done();
}

// The copy of the metadata gets a new base when its log has outgrown the old one.
Task<void> Housekeeper::keep_copy() {
  const auto settled = scheduler_.now() + options_.space.settle;
  while (!stopping_ && scheduler_.now() < settled) co_await ticks_.wait();
  while (!stopping_ && !engine_.parts().journal.failed()) {
    if (engine_.wants_copy_base()) {
      co_await engine_.renew_copy(stopping_, MetaCopy::Pace::kBackground, UINT64_MAX);
    } else {
      co_await ticks_.wait();
    }
  }
  running_.done();
}

// What it costs guests is the background thread's time, and a flush for each batch.
Task<void> Housekeeper::fold_changes() {
  ChangeFolder& folder = engine_.change_folder();
  const auto settled = scheduler_.now() + options_.space.settle;
  while (!stopping_ && scheduler_.now() < settled) co_await ticks_.wait();
  folder.look_at_all();
  while (!stopping_ && !engine_.parts().journal.failed()) {
    const auto began = scheduler_.now();
    auto folded = co_await folder.step();
    if (!folded) {
      // They stay where they are, which is right as well. At the next open it is tried again.
      engine_.tell(engine_.map_failure(folded.error()));
      while (!stopping_) {
        co_await ticks_.wait();
        (void)engine_.tree().take_left_points();
      }
      break;
    }
    if (*folded) {
      co_await sleep_for(scheduler_,
                         std::clamp(kRestPerStep * (scheduler_.now() - began), kLeastRest, kMostRest));
    } else {
      co_await ticks_.wait();
    }
  }
  running_.done();
}

// A sweep fills the map with deletions. Guests are slowed by what is dirty sooner than it stops for those who
// wait for what it frees.
bool Housekeeper::sweep_waits() const {
  const Parts& parts = engine_.parts();
  if (stopping_ || parts.journal.failed()) return false;
  return parts.anyone_wants_space() ? parts.dirty.map_is_full() : parts.dirty.map_is_slow();
}

// A sweep holds guests up as little as it can, unless one of them waits for what it frees. A map in memory
// does not suspend, so others have their turn in any case.
Task<void> Housekeeper::yield_to_guests() {
  Parts& parts = engine_.parts();
  const auto took = scheduler_.now() - step_began_;
  const bool busy = parts.counters.requests != requests_before_ && !parts.anyone_wants_space();
  requests_before_ = parts.counters.requests;
  engine_.reclaimer().set_guests_at_work(busy);
  const int rest = reclaimed_.empty() ? kRestPerStep : kRestWaitedFor;
  co_await sleep_for(scheduler_, busy ? std::clamp(rest * took, kLeastRest, kMostRest) : kLeastRest);
  // Nor one who waits for a commit: steps write records meanwhile, and keep this thread from its sync. But
  // what a verb waits for goes on.
  const bool rests = options_.rest_beside_commits && !parts.anyone_wants_space() && reclaimed_.empty();
  if (rests && parts.journal.round_running()) {
    co_await parts.journal.round_ended();
    co_await NextTurn{scheduler_};
  }
  // They see to it that what was freed can be had.
  if (!parts.space_freed.empty()) parts.space_freed.wake_all();
  while (sweep_waits()) co_await ticks_.wait();
  step_began_ = scheduler_.now();
}

Task<void> Housekeeper::reclaim() {
  Parts& parts = engine_.parts();
  const Reclaimer::Pace pace = [this] { return yield_to_guests(); };
  while (!stopping_) {
    while (!stopping_ && reclaim_status_ && engine_.reclaimer().has_work()) {
      step_began_ = scheduler_.now();
      reclaim_status_ = co_await engine_.reclaimer().sweep_one(stopping_, pace);
    }
    engine_.reclaiming = false;
    reclaimed_.wake_all();
    // Who waits for space tries again, and is told if there is none.
    parts.space_freed.wake_all();
    if (!stopping_) co_await deaths_.wait();
    engine_.reclaiming = engine_.reclaimer().has_work();
  }
  reclaimed_.wake_all();
  running_.done();
}

namespace {

// Reads what the head wrote in place in suspect granules, which accepts it or reports it lost.
Task<Result<>> scrub_head(Parts& parts, Head& head, const bool& stop) {
  AlignedBuffer buffer(kLeafBlocks * kBlockBytes);
  LeafIndex from{0};
  Result<> unread;
  while (!stop) {
    const View view = head.view(parts);
    auto found = co_await parts.map.scan(view, from, kLastLeaf, kLeavesAtOnce);
    if (!found) co_return std::unexpected(found.error());
    for (const LeafMap::Found& leaf : *found) {
      for (const LeafRun& run : leaf.leaf.runs()) {
        const bool suspect =
            run.kind == LeafRun::Kind::kData && (parts.granules.suspect(run.physical) ||
                                                 parts.granules.suspect(run.physical.next(run.count - 1u)));
        if (!suspect || stop) continue;
        const BlockIndex first = first_block(leaf.index).next(run.first);
        const std::span<std::byte> into = buffer.first(run.count * kBlockBytes);
        // A block that is lost stays reported, and one that could not be read stays suspect; the others go
        // on.
        auto read = co_await read_head(parts, head, first, into);
        if (!read && read.error().kind != ErrorKind::kCorrupt) unread = read;
      }
    }
    if (found->size() < kLeavesAtOnce) break;
    from = found->back().index.next();
  }
  co_return unread;
}

}  // namespace

Task<void> Housekeeper::scrub_suspects() {
  Parts& parts = engine_.parts();
  std::vector<NodeId> heads;
  for (const auto& [id, disk] : parts.tree.disks()) heads.push_back(disk.value.head);
  bool complete = true;
  for (const NodeId id : heads) {
    TreeNode* node = parts.tree.node(id);
    if (node == nullptr || node->value.state != NodeState::kHead) continue;
    const std::shared_ptr<Head> head = engine_.head(id, "");
    ++node->keeps;
    auto scrubbed = co_await scrub_head(parts, *head, stopping_);
    --parts.tree.node(id)->keeps;
    wake_reclaimer();
    if (!scrubbed || stopping_) complete = false;
  }
  // What was accepted is durable before the next write of a granule page stops excusing it.
  if (complete && !mutated(Mutation::kSuspectsClearedEarly)) {
    auto committed = co_await parts.journal.commit(parts.journal.staged());
    complete = committed.has_value();
  }
  if (complete) parts.granules.clear_suspects();
  running_.done();
}

}  // namespace coppice
