#include "tree/reclaimer.h"

#include <algorithm>
#include <bit>

#include "base/mutation.h"
#include "tree/change_cursor.h"
#include "tree/fate.h"

namespace coppice {

namespace {

// A record of one step at its largest: every block of every leaf freed by itself.
constexpr std::uint64_t kStepRecordBytes =
    1024 + Reclaimer::kMostLeavesPerStep * (32 + kLeafBlocks * 16) + 2048;
constexpr std::uint64_t kCopyBytes = 64;
// What is brought into memory together.
constexpr std::size_t kStepsAhead = 4;
// Of a step beside guests, so that none holds them up for long. One that commits waits for the device, and
// takes along what it can.
constexpr std::size_t kLeavesBesideGuests = 2;
// A verb may come meanwhile.
constexpr std::size_t kLeavesAlone = 8;
constexpr std::size_t kSweepAgain = 0;  // no fork has so few children
constexpr std::uint64_t kWholeLeaf = ~std::uint64_t{0};

}  // namespace

// Leaves pinned side by side: the dying node's, and its only child's where it has one.
struct Reclaimer::Step {
  LeafMap& map;
  std::vector<CachedLeaf*> own;
  std::vector<CachedLeaf*> child;
  explicit Step(LeafMap& source) : map(source) {}
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;
  ~Step() { let_go(); }
  void let_go() {
    for (CachedLeaf* leaf : own) map.unpin(leaf);
    for (CachedLeaf* leaf : child) map.unpin(leaf);
    own.clear();
    child.clear();
  }
};

// A dead node that nothing needs any more; null else.
TreeNode* Reclaimer::to_sweep(NodeId id) const {
  TreeNode* node = tree_.node(id);
  return node != nullptr && node->value.state == NodeState::kDead && !node->needed() ? node : nullptr;
}

// A sweep that a crash or a close cut short goes on first: where it has passed, its node looks like what
// stands above it, and a sweep of that would take the node for somebody who sees it.
NodeId Reclaimer::pick_begun() {
  if (mutated(Mutation::kSweepNotResumed)) return NodeId{0};
  if (!begun_) {
    begun_.emplace();
    for (const NodeId id : tree_.dead_nodes()) {
      if (tree_.node(id)->value.cursor.value != 0) begun_->insert(id);
    }
  }
  std::erase_if(*begun_, [this](NodeId id) { return tree_.node(id) == nullptr; });
  for (const NodeId id : *begun_) {
    const TreeNode* node = to_sweep(id);
    if (node != nullptr && node->children.size() <= 1) return id;
  }
  return NodeId{0};
}

NodeId Reclaimer::pick() {
  if (const NodeId id = pick_begun(); id.value != 0) return id;
  const std::set<NodeId>& dead = tree_.dead_nodes();
  for (const NodeId id : dead) {
    const TreeNode* node = to_sweep(id);
    if (node != nullptr && node->children.size() <= 1) return id;
  }
  // The younger ones mostly stand below the older ones, which look at what those have left.
  for (auto id = dead.rbegin(); id != dead.rend(); ++id) {
    const TreeNode* node = to_sweep(*id);
    if (node != nullptr && node->swept_with_children != node->children.size()) return *id;
  }
  return NodeId{0};
}

void Reclaimer::look_again() {
  for (const NodeId id : tree_.dead_nodes()) {
    if (TreeNode* node = to_sweep(id)) node->swept_with_children = kSweepAgain;
  }
}

// What the node saw with the forks above it nobody may see any more.
void Reclaimer::look_above(NodeId id) {
  TreeNode* at = tree_.node(tree_.node(id)->value.parent);
  for (; at != nullptr && at->value.state == NodeState::kDead; at = tree_.node(at->value.parent))
    at->swept_with_children = kSweepAgain;
}

namespace {

bool is_left(const TreeNode& node) {
  return node.children.size() <= 1 || node.swept_with_children != node.children.size();
}

}  // namespace

bool Reclaimer::has_work() const {
  return std::ranges::any_of(tree_.dead_nodes(), [this](NodeId id) {
    const TreeNode* node = to_sweep(id);
    return node != nullptr && is_left(*node);
  });
}

Reclaimer::Backlog Reclaimer::backlog(std::optional<DiskId> disk) const {
  Backlog all;
  for (const NodeId id : tree_.dead_nodes()) {
    const TreeNode& node = *tree_.node(id);
    if (node.pending || !is_left(node) || (disk && node.value.disk != *disk)) continue;
    ++all.nodes;
    all.total_bytes += node.value.size_bytes;
    all.looked_bytes += std::min(node.value.cursor.value * kLeafBytes, node.value.size_bytes);
  }
  return all;
}

Task<Result<>> Reclaimer::sweep_one(const bool& stop, const Pace& pace) {
  const NodeId node = pick();
  if (node.value == 0) co_return Result<>{};
  auto swept = co_await sweep(node, stop, pace);
  co_return swept;
}

bool Reclaimer::child_is_settled(const TreeNode& node) const {
  const bool early = mutated(Mutation::kSettledEarly);
  return stands_over_snapshot(tree_, node) && (early || node.children.front() < settled_);
}

// One that is still waiting for writes that began before it is not among them; nor are those behind it.
Task<Result<>> Reclaimer::settle() {
  const NodeId end = tree_.first_pending();
  co_await journal_.early_finished();
  auto done = co_await journal_.commit(journal_.staged());
  if (done) settled_ = end;
  co_return done;
}

Task<Result<>> Reclaimer::sweep(NodeId id, const bool& stop, const Pace& pace) {
  const TreeNode& node = *tree_.node(id);
  const std::size_t children = node.children.size();
  const bool leaves_tree = children <= 1;
  // Set before, so that whoever asks for another look meanwhile gets it.
  const bool first = node.swept_with_children == SIZE_MAX;
  if (!leaves_tree) tree_.node(id)->swept_with_children = children;
  if (leaves_tree && begun_) begun_->insert(id);
  const LeafIndex start = leaves_tree ? node.value.cursor : LeafIndex{0};
  ChangeCursor cursor(map_, swept_stretches(tree_, node), start, kLastLeaf);
  while (!stop) {
    auto changes = co_await cursor.next(kStepsAhead * leaves_of_step(*tree_.node(id)));
    if (!changes) co_return std::unexpected(changes.error());
    if (changes->empty()) break;
    co_await prefetch(id, *changes);
    const auto end = leaves_tree ? std::optional(cursor.position()) : std::nullopt;
    auto stepped = co_await steps(id, *changes, end, stop, pace);
    if (!stepped) co_return stepped;
  }
  if (stop) {
    tree_.node(id)->swept_with_children = kSweepAgain;
    co_return Result<>{};
  }
  if (!leaves_tree) {
    if (first) look_above(id);
    co_return Result<>{};
  }
  auto finished = co_await finish(id);
  co_return finished;
}

// What steps will look at, in few visits to the store.
Task<void> Reclaimer::prefetch(NodeId id, Changes changes) {
  const View view = tree_.view_of(*tree_.node(id));
  co_await map_.prefetch(view, changes);
  const std::vector<NodeId>& children = tree_.node(id)->children;
  if (children.empty()) co_return;
  const View child_view = tree_.view_of(*tree_.node(children.front()));
  co_await map_.prefetch(child_view, changes);
}

std::size_t Reclaimer::leaves_of_step(const TreeNode& node) const {
  if (!child_is_settled(node)) return leaves_per_step_;
  return std::min(leaves_per_step_, guests_at_work_ ? kLeavesBesideGuests : kLeavesAlone);
}

// `end`: where the cursor goes behind the last of them, for a node that leaves the tree.
Task<Result<>> Reclaimer::steps(NodeId id, Changes changes, std::optional<LeafIndex> end, const bool& stop,
                                const Pace& pace) {
  while (!changes.empty() && !stop) {
    const Changes some = changes.first(std::min(changes.size(), leaves_of_step(*tree_.node(id))));
    changes = changes.subspan(some.size());
    const auto next = changes.empty() || !end ? end : std::optional(changes.front().leaf);
    auto stepped = co_await step(id, some, next);
    if (!stepped) co_return stepped;
    co_await pace();
  }
  co_return Result<>{};
}

void Reclaimer::close_gate(const TreeNode& node, Changes changes) {
  std::vector<NodeId> viewers = below(tree_, node).live;
  viewers.insert(viewers.end(), node.children.begin(), node.children.end());
  for (const NodeId viewer : viewers) {
    for (const LeafMap::Change& change : changes) gate_.close(tree_.node(viewer)->value.branch, change.leaf);
  }
}

// A snapshot stays what it is, and no head's next write depends on how far this sweep has come: floors are
// those of the snapshot. What comes behind the record in the journal is not there without it.
Task<Result<>> Reclaimer::settled_step(NodeId id, Changes changes, LeafIndex next) {
  auto room = co_await journal_.reserve(kStepRecordBytes);
  if (!room) co_return room;
  auto done = co_await step_with_one_child(id, changes, next);
  journal_.unreserve(kStepRecordBytes);
  co_return done;
}

// Room comes first: who waits at the gate has some, and gives it back only behind the gate.
Task<Result<>> Reclaimer::step(NodeId id, Changes changes, std::optional<LeafIndex> next) {
  if (next && stands_over_snapshot(tree_, *tree_.node(id)) && !child_is_settled(*tree_.node(id))) {
    auto settled = co_await settle();
    if (!settled) co_return settled;
  }
  if (next && child_is_settled(*tree_.node(id))) {
    auto stepped = co_await settled_step(id, changes, *next);
    co_return stepped;
  }
  // A fork takes holes out of the versions of dead nodes below it, too.
  const std::uint64_t bytes =
      kStepRecordBytes + kCopyBytes * changes.size() * below(tree_, *tree_.node(id)).dead.size();
  auto room = co_await journal_.reserve(bytes);
  if (!room) co_return room;
  const bool gated = !mutated(Mutation::kReclaimUncommitted);
  Result<> done;
  if (gated) {
    close_gate(*tree_.node(id), changes);
    if (!mutated(Mutation::kEarlyNotAwaited)) co_await journal_.early_finished();
    done = co_await journal_.commit(journal_.staged());
  }
  if (done && next) {
    done = co_await step_with_one_child(id, changes, *next);
  } else if (done) {
    done = co_await step_with_children(id, changes);
  }
  journal_.unreserve(bytes);
  if (gated && done) done = co_await journal_.commit(journal_.staged());
  gate_.open();
  co_return done;
}

// The version that the node sees, itself. What a branch inherits is cached as a copy, and a copy does not
// learn what a sweep has taken out of the version since: nobody alive sees that, but the node's next sweep
// would free it again.
Task<Result<CachedLeaf*>> Reclaimer::load_own(View view, LeafIndex index) {
  auto loaded = co_await map_.load(view, index);
  if (!loaded || !(*loaded)->inherited || (*loaded)->origin_branch.value == 0) co_return loaded;
  const View origin{(*loaded)->origin_branch, (*loaded)->origin_version};
  map_.unpin(*loaded);
  loaded = co_await map_.load(origin, index);
  co_return loaded;
}

Task<Result<>> Reclaimer::load_step(NodeId id, Changes changes, Step& step) {
  const TreeNode& node = *tree_.node(id);
  const View view = tree_.view_of(node);
  for (const LeafMap::Change& change : changes) {
    auto own = co_await load_own(view, change.leaf);
    if (!own) co_return std::unexpected(own.error());
    step.own.push_back(*own);
    if (node.children.empty()) continue;
    const View child_view = tree_.view_of(*tree_.node(node.children.front()));
    auto child = co_await map_.load(child_view, change.leaf);
    if (!child) co_return std::unexpected(child.error());
    step.child.push_back(*child);
  }
  co_return Result<>{};
}

Task<Result<>> Reclaimer::step_with_one_child(NodeId id, Changes changes, LeafIndex next) {
  if (mutated(Mutation::kCursorApart)) {
    const MetaRecord cursor{tree_.plan_cursor(id, next)};
    journal_.stage(cursor);
    (void)tree_.apply(cursor.edits);
    (void)co_await journal_.commit(journal_.staged());
  }
  std::optional<ReclaimRecord> record;
  while (!record) {
    Step step(map_);
    auto loaded = co_await load_step(id, changes, step);
    if (!loaded) co_return loaded;
    // From here to the end nothing suspends: what the child sees is what it sees when the cursor passes.
    record = judge(id, changes, step);
  }
  record->edits = tree_.plan_cursor(id, next);
  auto published = co_await publish(std::move(*record));
  co_return published;
}

// By where each was born: a node may have taken over what the nodes above it left behind.
void Reclaimer::note_uncharged(const TreeNode& node, const Leaf& leaf, std::uint64_t mask) {
  if (!charges_.any()) return;
  for (const LeafRun& run : leaf.runs()) {
    if (run.kind != LeafRun::Kind::kData) continue;
    const std::uint64_t bits =
        run.count == kLeafBlocks ? ~std::uint64_t{0} : (std::uint64_t{1} << run.count) - 1;
    const auto count = static_cast<std::uint64_t>(std::popcount(mask & (bits << run.first)));
    if (count != 0) uncharged_[tree_.disk_of(tree_.birthplace(node.value.branch, run.birth))] += count;
  }
}

// Nothing where a leaf of the child left memory while the others were loaded: load again.
std::optional<ReclaimRecord> Reclaimer::judge(NodeId id, Changes changes, const Step& step) {
  const TreeNode& node = *tree_.node(id);
  const Epoch ancestor = parent_epoch(tree_, node);
  ReclaimRecord record;
  uncharged_.clear();
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const CachedLeaf& own = *step.own[i];
    const LeafKey key = version_of(own);
    if (key.version <= ancestor) continue;
    std::uint64_t mask = born_after(own, ancestor);
    if (!node.children.empty()) {
      // Asked for again: the head may have made a newer version, or a snapshot, in the meantime.
      const View child_view = tree_.view_of(*tree_.node(node.children.front()));
      CachedLeaf* child = map_.find(child_view, changes[i].leaf);
      if (child == nullptr) return std::nullopt;
      const bool shared = same_version(own, *child);
      mask &= ~seen_by(own, *child);
      map_.unpin(child);
      if (shared) continue;
    }
    record.versions.push_back({key.branch, key.leaf, key.version, kWholeLeaf});
    append_runs(own.leaf, mask, record.freed);
    note_uncharged(node, own.leaf, mask);
  }
  return record;
}

// Of its blocks those that none of the viewers sees. Once a node does not see a block it never will, so they
// are asked one after the other.
Task<Result<std::uint64_t>> Reclaimer::unseen(CachedLeaf& own, Epoch ancestor, std::vector<NodeId> viewers) {
  std::uint64_t mask = version_of(own).version > ancestor ? born_after(own, ancestor) : 0;
  for (std::size_t i = 0; i < viewers.size() && mask != 0; ++i) {
    const TreeNode* viewer = tree_.node(viewers[i]);
    if (viewer == nullptr) continue;
    const View view = tree_.view_of(*viewer);
    auto leaf = co_await map_.load(view, own.index);
    if (!leaf) co_return std::unexpected(leaf.error());
    mask &= ~seen_by(own, **leaf);
    map_.unpin(*leaf);
  }
  co_return mask;
}

namespace {

// In two where it is the whole leaf: a mask of all ones deletes the version, and the node, which stays in the
// tree, would then seem to see an ancestor's.
void add_holes(LeafKey key, std::uint64_t mask, std::vector<ReclaimedVersion>& into) {
  const std::uint64_t some = mask == kWholeLeaf ? mask >> 1 : mask;
  into.push_back({key.branch, key.leaf, key.version, some});
  if (some != mask) into.push_back({key.branch, key.leaf, key.version, mask & ~some});
}

}  // namespace

// Dead nodes further down have versions that copied what is freed: their sweeps must not free it again.
Task<Result<>> Reclaimer::add_copies(CachedLeaf& own, std::uint64_t mask, std::vector<NodeId> dead,
                                     Step& step, std::vector<ReclaimedVersion>& into) {
  std::vector<LeafKey> known{version_of(own)};
  for (const NodeId id : dead) {
    if (tree_.node(id) == nullptr) continue;
    const View view = tree_.view_of(*tree_.node(id));
    auto copy = co_await load_own(view, own.index);
    if (!copy) co_return std::unexpected(copy.error());
    step.own.push_back(*copy);
    const LeafKey key = version_of(**copy);
    if (std::ranges::find(known, key) != known.end()) continue;
    known.push_back(key);
    const std::uint64_t copied = mask & seen_by(own, **copy);
    if (copied != 0) add_holes(key, copied, into);
  }
  co_return Result<>{};
}

// Blocks of one leaf of a fork that nobody alive sees. A snapshot taken meanwhile puts a new node in a head's
// place, which may see more than the head does by now: then all are asked again. The versions stay pinned in
// `step`: publishing the record must find them in memory.
Task<Result<>> Reclaimer::judge_leaf(NodeId id, LeafIndex index, Step& step, ReclaimRecord& into) {
  const TreeNode& node = *tree_.node(id);
  const View view = tree_.view_of(node);
  const Epoch ancestor = parent_epoch(tree_, node);
  auto own = co_await load_own(view, index);
  if (!own) co_return std::unexpected(own.error());
  CachedLeaf& leaf = **own;
  step.own.push_back(&leaf);
  std::uint64_t mask = 0;
  std::vector<ReclaimedVersion> copies;
  Below asked;
  do {
    asked = below(tree_, node);
    copies.clear();
    auto left = co_await unseen(leaf, ancestor, asked.live);
    if (!left) co_return std::unexpected(left.error());
    mask = *left;
    Result<> copied;
    if (mask != 0) copied = co_await add_copies(leaf, mask, asked.dead, step, copies);
    if (!copied) co_return copied;
  } while (asked != below(tree_, node));
  if (mask == 0) co_return Result<>{};
  add_holes(version_of(leaf), mask, into.versions);
  into.versions.insert(into.versions.end(), copies.begin(), copies.end());
  append_runs(leaf.leaf, mask, into.freed);
  note_uncharged(node, leaf.leaf, mask);
  co_return Result<>{};
}

Task<Result<>> Reclaimer::step_with_children(NodeId id, Changes changes) {
  Step step(map_);
  ReclaimRecord record;
  Result<> status;
  uncharged_.clear();
  for (std::size_t i = 0; i < changes.size() && status; ++i) {
    status = co_await judge_leaf(id, changes[i].leaf, step, record);
  }
  if (mutated(Mutation::kSweptUnpinned)) step.let_go();
  if (!status || record.versions.empty()) co_return status;
  auto published = co_await publish(std::move(record));
  co_return published;
}

// Room was reserved by step().
Task<Result<>> Reclaimer::publish(ReclaimRecord record) {
  const std::uint64_t position = journal_.stage(record);
  for (const PhysicalRun& run : record.freed) allocator_.disown(run);
  if (!mutated(Mutation::kReclaimedStaysCharged)) {
    for (const auto& [disk, count] : uncharged_) charges_.freed(disk, count);
  }
  uncharged_.clear();
  pending_.freed(position, record.freed);
  if (!record.edits.empty()) {
    auto applied = tree_.apply(record.edits);
    if (!applied) co_return applied;
  }
  // Does not suspend for versions in memory or deleted whole, and these are one or the other: a checkpoint
  // that began in between would be behind the record and without its effect.
  for (const ReclaimedVersion& version : record.versions) {
    auto punched = co_await map_.punch_version({version.branch, version.leaf, version.version}, version.mask);
    if (!punched) co_return punched;
  }
  co_return Result<>{};
}

Task<Result<>> Reclaimer::finish(NodeId id) {
  auto room = co_await journal_.reserve(kStepRecordBytes);
  if (!room) co_return room;
  look_above(id);
  std::vector<BranchId> dropped;
  MetaRecord record{tree_.plan_remove_node(id, dropped)};
  journal_.unreserve(kStepRecordBytes);
  journal_.stage(record);
  auto applied = tree_.apply(record.edits);
  for (const BranchId branch : dropped) map_.drop_branch(branch);
  co_return applied;
}

}  // namespace coppice
