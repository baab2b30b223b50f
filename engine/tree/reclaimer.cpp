#include "tree/reclaimer.h"

#include "base/mutation.h"
#include "tree/change_cursor.h"
#include "tree/fate.h"

namespace coppice {

namespace {

constexpr std::size_t kLeavesPerStep = 32;
// A record of one step at its largest: every block of every leaf freed by itself.
constexpr std::uint64_t kStepRecordBytes = 1024 + kLeavesPerStep * (32 + kLeafBlocks * 16) + 2048;
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

// A sweep that a crash or a close cut short goes on first: where it has passed, its node looks like what
// stands above it, and a sweep of that would take the node for somebody who sees it.
NodeId Reclaimer::pick() const {
  const std::vector<NodeId> dead = tree_.dead_nodes();
  for (const NodeId id : dead) {
    const TreeNode& node = *tree_.node(id);
    const bool begun = node.value.reclaimed_up_to.value != 0 && node.children.size() <= 1;
    if (begun && !mutated(Mutation::kSweepNotResumed)) return id;
  }
  for (const NodeId id : dead) {
    const TreeNode& node = *tree_.node(id);
    if (node.children.size() <= 1 || node.swept_with_children != node.children.size()) return id;
  }
  return NodeId{0};
}

bool Reclaimer::has_work() const {
  return pick().value != 0;
}

Task<Result<>> Reclaimer::sweep_one(const bool& stop) {
  const NodeId node = pick();
  if (node.value == 0) co_return Result<>{};
  auto swept = co_await sweep(node, stop);
  co_return swept;
}

Task<Result<>> Reclaimer::sweep(NodeId id, const bool& stop) {
  const TreeNode& node = *tree_.node(id);
  const std::size_t children = node.children.size();
  const bool leaves_tree = children <= 1;
  const LeafIndex start = leaves_tree ? node.value.reclaimed_up_to : LeafIndex{0};
  ChangeCursor cursor(map_, own_stretches(tree_, node), start, kLastLeaf);
  while (!stop) {
    auto changes = co_await cursor.next(kLeavesPerStep);
    if (!changes) co_return std::unexpected(changes.error());
    if (changes->empty()) break;
    const auto next = leaves_tree ? std::optional(cursor.position()) : std::nullopt;
    auto stepped = co_await step(id, *changes, next);
    if (!stepped) co_return stepped;
  }
  if (stop) co_return Result<>{};
  if (!leaves_tree) {
    tree_.node(id)->swept_with_children = children;
    co_return Result<>{};
  }
  auto finished = co_await finish(id);
  co_return finished;
}

void Reclaimer::close_gate(const TreeNode& node, const std::vector<LeafMap::Change>& changes) {
  for (const NodeId child : node.children) {
    for (const LeafMap::Change& change : changes) gate_.close(tree_.node(child)->value.branch, change.leaf);
  }
}

// Room comes first: who waits at the gate has some, and gives it back only behind the gate.
Task<Result<>> Reclaimer::step(NodeId id, const std::vector<LeafMap::Change>& changes,
                               std::optional<LeafIndex> next) {
  auto room = co_await journal_.reserve(kStepRecordBytes);
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
  journal_.unreserve(kStepRecordBytes);
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

Task<Result<>> Reclaimer::load_step(NodeId id, const std::vector<LeafMap::Change>& changes, Step& step) {
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

Task<Result<>> Reclaimer::step_with_one_child(NodeId id, const std::vector<LeafMap::Change>& changes,
                                              LeafIndex next) {
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

// Nothing where a leaf of the child left memory while the others were loaded: load again.
std::optional<ReclaimRecord> Reclaimer::judge(NodeId id, const std::vector<LeafMap::Change>& changes,
                                              const Step& step) {
  const TreeNode& node = *tree_.node(id);
  const Epoch ancestor = parent_epoch(tree_, node);
  ReclaimRecord record;
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
  }
  return record;
}

// Blocks of one leaf of a node with several children that none of them sees. Once a child does not see a
// block it never will, so the children are asked one after the other; but a snapshot taken meanwhile puts a
// new child in a head's place, which may see more than the head does by now: then all are asked again.
// The node's own leaf stays pinned in `step`: publishing the record must find the version in memory.
Task<Result<>> Reclaimer::judge_leaf(NodeId id, LeafIndex index, Step& step, ReclaimRecord& into) {
  const TreeNode& node = *tree_.node(id);
  const View view = tree_.view_of(node);
  const Epoch ancestor = parent_epoch(tree_, node);
  auto own = co_await load_own(view, index);
  if (!own) co_return std::unexpected(own.error());
  step.own.push_back(*own);
  const LeafKey key = version_of(**own);
  Result<> status;
  std::uint64_t mask = 0;
  std::vector<NodeId> children;
  while (status && children != node.children) {
    children = node.children;
    mask = key.version > ancestor ? born_after(**own, ancestor) : 0;
    for (std::size_t i = 0; i < children.size() && mask != 0; ++i) {
      const TreeNode* child = tree_.node(children[i]);
      if (child == nullptr) continue;
      const View child_view = tree_.view_of(*child);
      auto child_leaf = co_await map_.load(child_view, index);
      if (!child_leaf) {
        status = std::unexpected(child_leaf.error());
        break;
      }
      mask &= ~seen_by(**own, **child_leaf);
      map_.unpin(*child_leaf);
    }
  }
  if (status && mask != 0) {
    // In two where it is the whole leaf: a mask of all ones deletes the version, and the node, which stays in
    // the tree, would then seem to see an ancestor's.
    const std::uint64_t some = mask == kWholeLeaf ? mask >> 1 : mask;
    into.versions.push_back({key.branch, key.leaf, key.version, some});
    if (some != mask) into.versions.push_back({key.branch, key.leaf, key.version, mask & ~some});
    append_runs((*own)->leaf, mask, into.freed);
  }
  co_return status;
}

Task<Result<>> Reclaimer::step_with_children(NodeId id, const std::vector<LeafMap::Change>& changes) {
  Step step(map_);
  ReclaimRecord record;
  Result<> status;
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
  std::vector<BranchId> dropped;
  MetaRecord record{tree_.plan_remove_node(id, dropped)};
  journal_.unreserve(kStepRecordBytes);
  journal_.stage(record);
  auto applied = tree_.apply(record.edits);
  for (const BranchId branch : dropped) map_.drop_branch(branch);
  co_return applied;
}

}  // namespace coppice
