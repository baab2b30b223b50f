// The verbs that change the store.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/mutation.h"
#include "disk/device.h"
#include "store/store_impl.h"

namespace coppice {

namespace {

// Upper bound for the journal records of one verb on one disk.
constexpr std::uint64_t kVerbBytes = 8192;
constexpr std::size_t kMaxNoteBytes = 1024;

std::uint64_t flags_of(DiskPolicy policy) {
  return policy.strict ? kDiskStrict : 0;
}

}  // namespace

Outcome<> check_size(const std::string& disk, std::uint64_t size_bytes) {
  if (size_bytes == 0 || size_bytes % kSectorBytes != 0 || size_bytes > kMaxDiskBytes) {
    return refuse(ErrorKind::kInvalid,
                  fmt::format("disk {}: {} bytes is no size for a disk: give a multiple of {} up to 16P",
                              disk, size_bytes, kSectorBytes));
  }
  return {};
}

Task<Outcome<>> StoreImpl::finish(std::uint64_t position, std::string object) {
  auto committed = co_await engine_->parts().journal.commit(position);
  if (!committed) co_return refuse(committed.error(), object);
  co_return Outcome<>{};
}

// Planned again once there is room: while this waits for it the reclaimer goes on, and a plan made before
// would put back what a node was then.
Task<Outcome<>> StoreImpl::change(std::function<Tree::Edits()> plan, std::string object) {
  Parts& parts = engine_->parts();
  const std::uint64_t bytes = encoded_bytes(MetaRecord{plan()});
  auto room = co_await parts.journal.reserve(bytes);
  if (!room) co_return refuse(room.error(), object);
  // What a verb builds on is durable before it: its record may outlive a power cut that they would not.
  Result<> committed;
  if (!mutated(Mutation::kVerbUncommitted)) committed = co_await parts.journal.commit(parts.journal.staged());
  parts.journal.unreserve(bytes);
  if (!committed) co_return refuse(committed.error(), object);
  const MetaRecord record{plan()};
  const std::uint64_t position = parts.journal.stage(record);
  auto applied = parts.tree.apply(record.edits);
  if (!applied) co_return refuse(applied.error(), object);
  for (const MetaEdit& edit : record.edits) {
    const auto branch = edit.erase ? id_of_key(edit.key, "branch/") : std::nullopt;
    if (branch) parts.map.drop_branch(BranchId{*branch});
  }
  auto finished = co_await finish(position, object);
  co_return finished;
}

Outcome<const TreeDisk*> StoreImpl::require_disk(const std::string& name) {
  const TreeDisk* disk = engine_->tree().find_disk(name);
  if (disk == nullptr) {
    return refuse(ErrorKind::kNotFound,
                  fmt::format("disk {} is not there: 'coppice ls' lists what is", name));
  }
  return disk;
}

Outcome<TreeNode*> StoreImpl::require_node(const Spec& spec) {
  auto disk = require_disk(spec.disk);
  if (!disk) return std::unexpected(disk.error());
  TreeNode* node = spec.is_snapshot() ? engine_->tree().find_snapshot((*disk)->id, spec.snapshot)
                                      : engine_->tree().node((*disk)->value.head);
  if (node == nullptr && bookmark(spec).value != 0) {
    return refuse(
        ErrorKind::kInvalid,
        fmt::format("{} has no data any more, only what changed since (rm --keep-changes): it can be "
                    "the first side of a diff, or be removed",
                    spec.text()));
  }
  if (node == nullptr) {
    return refuse(
        ErrorKind::kNotFound,
        fmt::format("snapshot {} is not there: 'coppice tree {}' shows what is", spec.text(), spec.disk));
  }
  return node;
}

Outcome<> StoreImpl::require_free_name(const std::string& name) {
  auto valid = check_name(name);
  if (!valid) return valid;
  if (engine_->tree().find_disk(name) != nullptr) {
    return refuse(ErrorKind::kExists, fmt::format("disk {} exists already: choose another name", name));
  }
  return {};
}

Outcome<> StoreImpl::require_unattached(const TreeDisk& disk, const std::string& verb) {
  auto free = require_no_attachment(disk, verb);
  const NodeId head = disk.value.head;
  if (!free || holders_of(head) == 0) return free;
  return refuse(ErrorKind::kBusy, fmt::format("disk {} is attached ({}): detach it before {}",
                                              disk.value.name, first_holder(head), verb));
}

Task<Outcome<>> StoreImpl::create_disk(std::string name, std::uint64_t size_bytes, DiskPolicy policy) {
  return exclusively(do_create(std::move(name), size_bytes, policy));
}

Task<Outcome<>> StoreImpl::do_create(std::string name, std::uint64_t size_bytes, DiskPolicy policy) {
  auto checked = require_free_name(name);
  if (checked) checked = check_size(name, size_bytes);
  if (!checked) co_return checked;
  const std::int64_t now = wall_now();
  const auto plan = [&] { return engine_->tree().plan_disk(name, size_bytes, flags_of(policy), now); };
  auto done = co_await change(plan, "disk " + name);
  co_return done;
}

Task<Outcome<>> StoreImpl::snapshot(std::vector<Spec> specs, SnapshotOptions options) {
  return exclusively(do_snapshot(std::move(specs), std::move(options), false));
}

Outcome<> StoreImpl::check_snapshot_specs(const std::vector<Spec>& specs) {
  std::set<std::string> disks;
  for (const Spec& spec : specs) {
    if (!spec.is_snapshot()) {
      return refuse(ErrorKind::kInvalid,
                    fmt::format("{}: a snapshot needs a name: write {}@NAME", spec.disk, spec.disk));
    }
    auto valid = check_name(spec.snapshot);
    if (!valid) return valid;
    auto disk = require_disk(spec.disk);
    if (!disk) return std::unexpected(disk.error());
    if (auto still = require_not_flattening(**disk); !still) return still;
    if (engine_->tree().snapshot_name_taken((*disk)->id, spec.snapshot)) {
      return refuse(ErrorKind::kExists,
                    fmt::format("snapshot {} exists already: choose another name", spec.text()));
    }
    if (!disks.insert(spec.disk).second) {
      return refuse(
          ErrorKind::kInvalid,
          fmt::format("disk {} is named twice: one snapshot of a disk at one point in time", spec.disk));
    }
  }
  return {};
}

Task<Outcome<>> StoreImpl::do_snapshot(std::vector<Spec> specs, SnapshotOptions options, bool scheduled) {
  auto checked = check_snapshot_specs(specs);
  if (!checked) co_return checked;
  if (options.note.size() > kMaxNoteBytes) {
    co_return refuse(ErrorKind::kInvalid,
                     fmt::format("snapshot {}: a note has at most {} bytes, this one {}",
                                 specs.front().text(), kMaxNoteBytes, options.note.size()));
  }
  Parts& parts = engine_->parts();
  Tree& tree = parts.tree;
  const std::string object = "snapshot " + specs.front().text();
  const std::uint64_t bytes = kVerbBytes * specs.size();
  auto room = co_await parts.journal.reserve(bytes);
  if (!room) co_return refuse(room.error(), object);

  // All epochs in one step of this thread: that is the point in time. Writes that start from here on go to
  // the next epoch; those that have started finish in this one.
  const std::int64_t now = wall_now();
  std::vector<NodeId> nodes;
  std::vector<std::pair<std::shared_ptr<Head>, Epoch>> open_heads;
  Result<> status;
  for (const Spec& spec : specs) {
    const NodeId head = tree.find_disk(spec.disk)->value.head;
    const Epoch closing = tree.epoch_of(*tree.node(head));
    Tree::Fork fork = tree.plan_fork(head, now);
    parts.journal.stage(MetaRecord{fork.edits});
    auto applied = tree.apply(fork.edits);
    if (!applied) status = applied;
    // Dead and without a name until all is in it; the reclaimer keeps its hands off.
    tree.set_pending(fork.node, true);
    nodes.push_back(fork.node);
    open_heads.emplace_back(engine_->head(head, spec.disk), closing);
    if (mutated(Mutation::kGroupInTurn)) (void)co_await parts.journal.commit(parts.journal.staged());
  }
  for (const auto& [head, closing] : open_heads) {
    if (!mutated(Mutation::kSnapshotDoesNotWait)) co_await head->lock.drained(closing);
  }
  const NodeGroup group = nodes.size() > 1 ? NodeGroup{nodes.front(), nodes.size()} : NodeGroup{};
  MetaRecord names;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const Tree::Edits named = tree.plan_label_node(
        nodes[i], {specs[i].snapshot, options.note, options.expires_unix_ms, scheduled, group});
    names.edits.insert(names.edits.end(), named.begin(), named.end());
  }
  parts.journal.unreserve(bytes);
  const std::uint64_t position = parts.journal.stage(names);
  auto applied = tree.apply(names.edits);
  if (!applied) status = applied;
  for (const NodeId node : nodes) tree.set_pending(node, false);
  if (!status) co_return refuse(status.error(), object);
  auto finished = co_await finish(position, object);
  co_return finished;
}

Task<Outcome<>> StoreImpl::clone(Spec from, std::string new_disk) {
  return exclusively(do_clone(std::move(from), std::move(new_disk)));
}

Task<Outcome<>> StoreImpl::do_clone(Spec from, std::string new_disk) {
  if (!from.is_snapshot()) {
    co_return refuse(
        ErrorKind::kInvalid,
        fmt::format("{}: a clone starts at a snapshot: take one, then clone {}@NAME", from.disk, from.disk));
  }
  auto node = require_node(from);
  if (!node) co_return std::unexpected(node.error());
  auto free = require_free_name(new_disk);
  if (!free) co_return free;
  const std::int64_t now = wall_now();
  const auto plan = [&, origin = (*node)->id] { return engine_->tree().plan_clone(origin, new_disk, now); };
  auto done = co_await change(plan, "disk " + new_disk);
  co_return done;
}

Task<Outcome<>> StoreImpl::rename(Spec from, std::string to) {
  return exclusively(do_rename(std::move(from), std::move(to)));
}

Task<Outcome<>> StoreImpl::do_rename(Spec from, std::string to) {
  auto valid = check_name(to);
  if (!valid) co_return valid;
  auto node = require_node(from);
  if (!node) co_return std::unexpected(node.error());
  Tree& tree = engine_->tree();
  if (from.is_snapshot()) {
    if (tree.snapshot_name_taken((*node)->value.disk, to)) {
      co_return refuse(ErrorKind::kExists,
                       fmt::format("snapshot {}@{} exists already: choose another name", from.disk, to));
    }
  } else {
    auto free = require_free_name(to);
    if (free) free = require_no_attachment(*tree.disk((*node)->value.disk), "renaming it");
    if (!free) co_return free;
  }
  const auto plan = [&, id = (*node)->id] {
    const NodeValue& value = tree.node(id)->value;
    return from.is_snapshot() ? tree.plan_label_node(
                                    id, {to, value.note, value.expires_unix_ms, value.scheduled, value.group})
                              : tree.plan_rename_disk(value.disk, to);
  };
  auto done = co_await change(plan, from.text());
  co_return done;
}

Task<Outcome<>> StoreImpl::resize(std::string disk, std::uint64_t size_bytes) {
  return exclusively(do_resize(std::move(disk), size_bytes));
}

// What lies beyond the end must read as zeroes when the disk grows over it again; and a crash in between must
// neither lose bytes of a disk that was not shrunk nor bring back those of one that was.
Task<Outcome<>> StoreImpl::do_resize(std::string name, std::uint64_t size_bytes) {
  auto disk = require_disk(name);
  if (!disk) co_return std::unexpected(disk.error());
  auto checked = check_size(name, size_bytes);
  if (checked) checked = require_unattached(**disk, "resizing it");
  if (!checked) co_return checked;
  const NodeId head = (*disk)->value.head;
  checked = require_base(*engine_->tree().node(head));
  if (!checked) co_return checked;
  const NodeValue old = engine_->tree().node(head)->value;
  const std::uint64_t written_end = std::max(old.size_bytes, old.cursor.value * kLeafBytes);
  const bool grows = size_bytes > old.size_bytes;
  if (grows) {
    auto cleared = co_await clear_beyond(**disk, old.size_bytes, std::max(size_bytes, written_end));
    if (!cleared) co_return cleared;
  }
  LeafIndex uncut{round_up(written_end, kLeafBytes) / kLeafBytes};
  if (grows) uncut = {};
  const LeafIndex mark = mutated(Mutation::kCutForgotten) ? LeafIndex{} : uncut;
  const auto plan = [&] { return engine_->tree().plan_resize(head, size_bytes, mark); };
  auto done = co_await change(plan, "disk " + name);
  if (done && !grows) done = co_await finish_cut((*disk)->id, uncut);
  co_return done;
}

// Gives the space back of what a smaller size has cut off, in leaves below `up_to`.
Task<Outcome<>> StoreImpl::finish_cut(DiskId id, LeafIndex up_to) {
  const Tree& tree = engine_->tree();
  const TreeDisk& disk = *tree.disk(id);
  const NodeId head = disk.value.head;
  const std::uint64_t size = tree.node(head)->value.size_bytes;
  Outcome<> done;
  if (size < up_to.value * kLeafBytes) done = co_await clear_beyond(disk, size, up_to.value * kLeafBytes);
  // Whole blocks are gone. The tail of one that is still seen found no room: a larger size clears it first.
  if (!done && done.error().kind != ErrorKind::kNoSpace) co_return done;
  if (tree.node(head)->value.cursor.value == 0) co_return Outcome<>{};
  const auto plan = [&] { return tree.plan_cursor(head, LeafIndex{0}); };
  done = co_await change(plan, "disk " + disk.value.name);
  co_return done;
}

// Those that a crash has interrupted, before any verb, and before a disk is opened. Not those whose base is
// missing, which may be read for it, nor those in the trash, which a full pool may take meanwhile.
Task<void> StoreImpl::finish_cuts() {
  co_await verbs_.lock();
  const Tree& tree = engine_->tree();
  std::vector<DiskId> uncut;
  for (const auto& [id, disk] : tree.disks()) {
    const TreeNode& head = *tree.node(disk.value.head);
    if (head.value.cursor.value != 0 && !tree.trashed(id) && require_base(head)) uncut.push_back(id);
  }
  for (const DiskId id : uncut) {
    auto done = co_await finish_cut(id, tree.node(tree.disk(id)->value.head)->value.cursor);
    if (!done) engine_->tell("what was cut off a smaller disk still takes space: " + done.error().message);
  }
  verbs_.unlock();
}

Task<Outcome<>> StoreImpl::set_policy(std::string disk, DiskPolicy policy) {
  return exclusively(do_set_policy(std::move(disk), policy));
}

// Nobody writes, and change() commits first: what was written in place is durable before a record says that
// nothing of this disk is. The next device sees the policy.
Task<Outcome<>> StoreImpl::do_set_policy(std::string name, DiskPolicy policy) {
  auto disk = require_disk(name);
  if (!disk) co_return std::unexpected(disk.error());
  if ((*disk)->value.flags == flags_of(policy)) co_return Outcome<>{};
  auto free = require_unattached(**disk, "changing how it is written");
  if (!free) co_return free;
  const auto plan = [&, id = (*disk)->id] { return engine_->tree().plan_flags(id, flags_of(policy)); };
  auto done = co_await change(plan, "disk " + name);
  co_return done;
}

Task<Outcome<>> StoreImpl::clear_beyond(const TreeDisk& disk, std::uint64_t from_bytes,
                                        std::uint64_t to_bytes) {
  const std::uint64_t end = round_up(to_bytes, kBlockBytes);
  const std::string object = "disk " + disk.value.name;
  auto device =
      make_head_device(engine_->parts(), engine_->head(disk.value.head, disk.value.name), end, false, [] {});
  // The part of a block last: it alone may need space.
  const std::uint64_t whole = std::min(round_up(from_bytes, kBlockBytes), end);
  auto cleared = co_await device->discard(whole, end - whole, WriteFlags{true});
  if (cleared && from_bytes != whole) {
    auto counted = co_await count_for_quota(disk.id);
    if (!counted) co_return counted;
    cleared = co_await device->discard(from_bytes, whole - from_bytes, WriteFlags{true});
  }
  if (!cleared) co_return refuse(cleared.error(), object);
  co_return Outcome<>{};
}

}  // namespace coppice
