// Tree: branches, nodes, disks and their names, in memory; every change is a list of MetaEdits.
//
// A change is made by building edits with the plan_… functions, staging them as one journal record, and
// apply()ing them: the same apply() that redo uses, so there is one way for the tree to change.
// Invariants: a node's parent is its nearest ancestor still in the tree. Between two neighbouring nodes of a
// path no version boundary lies, so every version of a leaf belongs to a node. A branch exists while a node
// or a bookmark is on it or another branch came from it. Threads: the store's scheduler; nothing suspends.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "coppice/result.h"
#include "coppice/types.h"
#include "layout/record.h"
#include "layout/tree_values.h"
#include "map/leaf_map.h"
#include "map/meta_store.h"

namespace coppice {

struct TreeNode {
  NodeId id;
  NodeValue value;
  std::vector<NodeId> children;
  // Not durable: the snapshot that makes it is still under way; leave it alone. Tree::set_pending.
  bool pending = false;
  // Not durable: diffs that read it; it can't be removed meanwhile.
  std::uint32_t pins = 0;
  // Not durable: background work that needs it; it can be removed, but its space stays until that is done.
  std::uint32_t keeps = 0;
  [[nodiscard]] bool needed() const { return pending || pins != 0 || keeps != 0; }
  // Dead with several children: how many there were when it was last swept.
  std::size_t swept_with_children = SIZE_MAX;
};

struct TreeDisk {
  DiskId id;
  DiskValue value;
};

class Tree final : public BranchParents {
 public:
  using Edits = std::vector<MetaEdit>;

  // From the MetaStore's `meta` family (blocking; at open).
  Result<> load(MetaStore& meta);
  // Ids and epochs in `edits` push the counters past them.
  Result<> apply(const Edits& edits);
  // An epoch seen in a record: the counter goes above it.
  void note_epoch(Epoch epoch);
  // What changed since the last call, as puts and erases of the `meta` family.
  void collect_dirty(MetaBatch& into);
  [[nodiscard]] bool dirty() const { return !dirty_.empty(); }
  // Grows with every change, from 1 on.
  [[nodiscard]] std::uint64_t changes() const { return changes_; }

  // Questions.
  [[nodiscard]] Parent parent_of(BranchId branch) const override;
  [[nodiscard]] const BranchValue& branch(BranchId id) const { return branches_.at(id); }
  [[nodiscard]] TreeNode* node(NodeId id);
  [[nodiscard]] const TreeNode* node(NodeId id) const;
  [[nodiscard]] const TreeDisk* disk(DiskId id) const;
  [[nodiscard]] const TreeDisk* find_disk(const std::string& name) const;
  [[nodiscard]] TreeNode* find_snapshot(DiskId disk, const std::string& name);
  [[nodiscard]] std::vector<NodeId> nodes_of(DiskId disk) const;  // live ones: head and snapshots
  // Those in the trash among them: all is theirs but the name.
  [[nodiscard]] const std::map<DiskId, TreeDisk>& disks() const { return disks_; }
  [[nodiscard]] const std::map<DiskId, TrashValue>& trash() const { return trash_; }
  [[nodiscard]] const std::map<DiskId, ScheduleValue>& schedules() const { return schedules_; }
  // Null: it has none.
  [[nodiscard]] const ScheduleValue* schedule(DiskId disk) const;
  // Null: it never had one.
  [[nodiscard]] const AttachmentsValue* attachments(DiskId disk) const;
  [[nodiscard]] const std::map<DiskId, AttachmentsValue>& attachments() const { return attachments_; }
  // By root branch.
  [[nodiscard]] const std::map<BranchId, BaseValue>& bases() const { return bases_; }
  // Of the tree that the branch belongs to. Null: it has none.
  [[nodiscard]] const BaseValue* base(BranchId branch) const;
  [[nodiscard]] BranchId root_of(BranchId branch) const;
  [[nodiscard]] const std::map<DiskId, QuotaValue>& quotas() const { return quotas_; }
  // Whose head wrote, or writes, there.
  [[nodiscard]] DiskId disk_of(BranchId branch) const;
  // Where on the way to a view what was born then was born.
  [[nodiscard]] BranchId birthplace(BranchId branch, Epoch birth) const;
  [[nodiscard]] const std::map<NodeId, BookmarkValue>& bookmarks() const { return bookmarks_; }
  // 0: there is none.
  [[nodiscard]] NodeId find_bookmark(DiskId disk, const std::string& name) const;
  [[nodiscard]] bool has_bookmarks(DiskId disk) const;
  // The snapshots of a group that are still there, of disks in the trash too.
  [[nodiscard]] std::vector<NodeId> group(NodeId id) const;
  // By a snapshot or a bookmark.
  [[nodiscard]] bool snapshot_name_taken(DiskId disk, const std::string& name) const;
  [[nodiscard]] bool trashed(DiskId disk) const { return trash_.contains(disk); }
  [[nodiscard]] const std::map<NodeId, TreeNode>& nodes() const { return nodes_; }
  [[nodiscard]] const std::map<BranchId, BranchValue>& branches() const { return branches_; }
  // Where to look from to see the node's content.
  [[nodiscard]] View view_of(const TreeNode& node) const;
  [[nodiscard]] Epoch epoch_of(const TreeNode& node) const { return view_of(node).epoch; }
  // Blocks of `leaf` that a write of `epoch` on the head's branch replaces, and that are younger than this,
  // are seen by nobody else: the epoch of the newest node below `epoch` that is not reclaimed (for this
  // leaf).
  [[nodiscard]] Epoch free_floor(NodeId head, Epoch epoch, LeafIndex leaf) const;
  // The stretches of branches between an ancestor's epoch (exclusive) and a view (inclusive), youngest first.
  struct Stretch {
    BranchId branch;
    Epoch after;
    Epoch up_to;
  };
  [[nodiscard]] std::vector<Stretch> path(View from, Epoch after) const;
  // Where the paths of two views meet: the newest point that is on both. Epoch 0: nowhere.
  [[nodiscard]] View meeting_point(View a, View b) const;
  // A node's `pending`.
  void set_pending(NodeId node, bool pending);
  // The oldest node that is pending, else the next one to be made.
  [[nodiscard]] NodeId first_pending() const { return pending_.empty() ? next_node() : *pending_.begin(); }
  // Of them, too, some may be needed for a while.
  [[nodiscard]] const std::set<NodeId>& dead_nodes() const { return dead_; }
  // The *points* of a branch are the epochs at which a node or a bookmark stands, or another branch came
  // from. All questions for changes are between two points. The first one at or behind a view; for a head its
  // current epoch. Nothing: there is none, and never will be.
  [[nodiscard]] std::optional<Epoch> point_at_or_behind(View view) const;
  // The last one before it. 0: there is none.
  [[nodiscard]] Epoch point_before(View view) const;
  // Those that have left the tree since the last call, and are no others' points.
  [[nodiscard]] std::vector<View> take_left_points() { return std::exchange(left_points_, {}); }

  // Plans. None of them changes anything.
  Edits plan_disk(const std::string& name, std::uint64_t size_bytes, std::uint64_t flags,
                  std::int64_t now_ms) const;
  // A disk that plan_disk() made stands on a base from the start.
  [[nodiscard]] Edits plan_base(BranchId root, const BaseValue& base) const;
  [[nodiscard]] Edits plan_no_base(BranchId root) const;
  [[nodiscard]] NodeId next_node() const { return counters_.next_node; }
  [[nodiscard]] Epoch next_epoch() const { return counters_.next_epoch; }
  [[nodiscard]] BranchId next_branch() const { return counters_.next_branch; }
  // Closes the head's current epoch with a dead node (no name yet) and opens the next one.
  struct Fork {
    NodeId node;
    Edits edits;
  };
  [[nodiscard]] Fork plan_fork(NodeId head, std::int64_t now_ms) const;
  struct Label {
    std::string name;
    std::string note = {};
    std::int64_t expires_unix_ms = 0;
    bool scheduled = false;
    NodeGroup group = {};
  };
  // What the node was held by stays.
  [[nodiscard]] Edits plan_label_node(NodeId node, const Label& label) const;
  [[nodiscard]] Edits plan_expiry(NodeId node, std::int64_t expires_unix_ms) const;
  [[nodiscard]] Edits plan_holds(NodeId node, std::vector<std::string> tags) const;
  [[nodiscard]] Edits plan_kill_node(NodeId node) const;
  [[nodiscard]] Edits plan_quota(DiskId disk, const QuotaValue& quota) const;
  [[nodiscard]] Edits plan_no_quota(DiskId disk) const;
  // Beside plan_kill_node(): where it stood is kept.
  [[nodiscard]] Edits plan_bookmark(NodeId node) const;
  // With the branches that only they kept.
  [[nodiscard]] Edits plan_drop_bookmarks(const std::set<NodeId>& ids) const;
  struct Return {
    DiskId disk;
    NodeId to;
  };
  // The head of each disk (each once) moves to a new branch from its `to`; its old head becomes a node: kept
  // under `keep_as`, all of them as a group, or dead where that is empty.
  [[nodiscard]] Edits plan_rollback(const std::vector<Return>& returns, const std::string& keep_as,
                                    std::int64_t now_ms) const;
  // Its policies are those of the disk that it comes from.
  [[nodiscard]] Edits plan_clone(NodeId from, const std::string& name, std::int64_t now_ms) const;
  // The disk's name and head go; its head node becomes dead.
  [[nodiscard]] Edits plan_remove_disk(DiskId disk) const;
  [[nodiscard]] Edits plan_trash(DiskId disk, std::int64_t now_ms) const;
  [[nodiscard]] Edits plan_undelete(DiskId disk, const std::string& name) const;
  [[nodiscard]] Edits plan_schedule(DiskId disk, const ScheduleValue& schedule) const;
  [[nodiscard]] Edits plan_no_schedule(DiskId disk) const;
  [[nodiscard]] Edits plan_attachments(DiskId disk, const AttachmentsValue& attachments) const;
  [[nodiscard]] Edits plan_rename_disk(DiskId disk, const std::string& name) const;
  [[nodiscard]] Edits plan_flags(DiskId disk, std::uint64_t flags) const;
  // What lies behind the end, in leaves below `cut_up_to`, is still to be cut.
  [[nodiscard]] Edits plan_resize(NodeId head, std::uint64_t size_bytes, LeafIndex cut_up_to) const;
  [[nodiscard]] Edits plan_cursor(NodeId node, LeafIndex cursor) const;
  // A swept node with at most one child leaves the tree. Branches that nobody needs any more go with it; they
  // are listed in `dropped`.
  [[nodiscard]] Edits plan_remove_node(NodeId node, std::vector<BranchId>& dropped) const;

 private:
  void name_disks();
  Result<> apply_one(const MetaEdit& edit);
  Result<> apply_disk(DiskId id, const MetaEdit& edit);
  Result<> apply_trash(DiskId id, const MetaEdit& edit);
  Result<> apply_branch(BranchId id, const MetaEdit& edit);
  Result<> apply_bookmark(NodeId id, const MetaEdit& edit);
  void add_name(DiskId id);
  void drop_name(DiskId id);
  void put_node(NodeId id, const NodeValue& value);
  void erase_node(NodeId id);
  void drop_from_disk(const NodeValue& value, NodeId id);
  void drop_from_group(const NodeValue& value, NodeId id);
  void add_point(View point);
  void drop_point(View point);
  // How much of what uses a branch is about to go.
  using Leaving = std::unordered_map<BranchId, std::size_t>;
  // With those that it came from and that nothing else uses. A base goes with its root branch.
  void drop_unused(BranchId branch, Leaving& leaving, std::vector<BranchId>& dropped, Edits& edits) const;

  std::map<BranchId, BranchValue> branches_;
  std::map<NodeId, TreeNode> nodes_;
  std::set<NodeId> dead_;
  std::map<DiskId, TreeDisk> disks_;
  std::map<DiskId, TrashValue> trash_;
  std::map<DiskId, ScheduleValue> schedules_;
  std::map<DiskId, AttachmentsValue> attachments_;
  std::map<BranchId, BaseValue> bases_;
  std::map<NodeId, BookmarkValue> bookmarks_;
  std::map<DiskId, QuotaValue> quotas_;
  std::unordered_map<BranchId, DiskId> branch_disks_;
  std::unordered_map<std::string, DiskId> disk_names_;  // not of what is in the trash
  std::map<std::pair<DiskId, std::string>, NodeId> snapshot_names_;
  std::map<std::pair<DiskId, std::string>, NodeId> bookmark_names_;
  std::unordered_map<DiskId, std::set<NodeId>> disk_nodes_;    // live ones
  std::unordered_map<NodeId, std::set<NodeId>> groups_;        // by the group's id
  std::unordered_map<BranchId, std::multiset<Epoch>> points_;  // a head's is kForever
  std::vector<View> left_points_;
  std::set<NodeId> pending_;
  CountersValue counters_{Epoch{1}, BranchId{1}, NodeId{1}, DiskId{1}};
  std::set<std::string> dirty_;
  std::uint64_t changes_ = 1;
};

}  // namespace coppice
