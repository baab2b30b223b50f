// StoreImpl: the Store of coppice/store.h over one Engine.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coppice/store.h"
#include "store/allocated_counts.h"
#include "store/attachment_gate.h"
#include "store/engine.h"
#include "store/housekeeper.h"
#include "store/store_directory.h"
#include "tree/diff.h"
#include "tree/fate.h"

namespace coppice {

Outcome<> check_size(const std::string& disk, std::uint64_t size_bytes);

class StoreImpl final : public Store {
 public:
  StoreImpl(Scheduler& scheduler, std::unique_ptr<Engine> engine, HousekeepingOptions options = {});
  ~StoreImpl() override = default;

  [[nodiscard]] std::string read_only() const override;
  [[nodiscard]] std::uint64_t changes() const override { return engine_->tree().changes(); }
  Task<Outcome<>> create_disk(std::string name, std::uint64_t size_bytes, DiskPolicy policy) override;
  Task<Outcome<std::uint64_t>> create_disk_over(std::string name, std::uint64_t size_bytes, DiskPolicy policy,
                                                BaseSource base) override;
  Task<Outcome<>> set_base(std::string disk, BaseSource base) override;
  Task<Outcome<>> start_flatten(std::string disk, FlattenPace pace) override;
  Task<Outcome<>> stop_flatten(std::string disk) override;
  Task<Outcome<>> snapshot(std::vector<Spec> specs, SnapshotOptions options) override;
  Task<Outcome<>> hold(Spec snapshot, std::string tag) override;
  Task<Outcome<std::string>> release(Spec snapshot, std::string tag) override;
  Task<Outcome<std::string>> rollback(std::vector<Spec> to, RollbackOptions options) override;
  Task<Outcome<>> clone(Spec from, std::string new_disk) override;
  Task<Outcome<>> remove(std::vector<Spec> specs, bool with_snapshots) override;
  Task<Outcome<>> keep_changes(std::vector<Spec> snapshots) override;
  Task<Outcome<std::int64_t>> trash(std::vector<Spec> specs, bool with_snapshots) override;
  Task<Outcome<RemovalPreview>> preview_removal(std::vector<Spec> specs, bool with_snapshots,
                                                bool to_trash) override;
  Task<Outcome<>> set_schedule(std::string disk, Schedule rules) override;
  Task<Outcome<ScheduleInfo>> schedule(std::string disk, std::optional<Schedule> rules) override;
  Task<Outcome<>> undelete(std::string disk, std::string new_name) override;
  Task<Outcome<>> purge(std::vector<std::string> disks) override;
  Task<Outcome<std::vector<TrashInfo>>> trashed() override;
  Task<Outcome<>> set_expiry(Spec snapshot, std::int64_t expires_unix_ms) override;
  Task<Outcome<>> run_policies() override;
  Task<Outcome<>> rename(Spec from, std::string to) override;
  Task<Outcome<>> resize(std::string disk, std::uint64_t size_bytes) override;
  Task<Outcome<>> set_policy(std::string disk, DiskPolicy policy) override;
  Task<Outcome<AttachmentInfo>> attach(std::string disk, AttachOptions options) override;
  Task<Outcome<std::vector<AttachmentInfo>>> attachments(std::string disk) override;
  Task<Outcome<std::vector<AttachmentInfo>>> detach(std::string disk, std::string token) override;
  Task<Outcome<std::vector<AttachmentInfo>>> detach_all(std::string disk) override;
  Task<Outcome<std::vector<AttachmentInfo>>> fence(std::string disk) override;
  Task<Outcome<std::unique_ptr<BlockDevice>>> open_attachment(std::string disk, std::string token,
                                                              Holder holder) override;
  Task<Outcome<>> set_quota(std::string disk, std::uint64_t limit_bytes) override;
  Task<Outcome<std::vector<NodeInfo>>> tree(std::optional<std::string> disk) override;
  Task<Outcome<NodeInfo>> info(Spec spec) override;
  Task<Outcome<GroupInfo>> group(Spec snapshot) override;
  Task<Outcome<std::vector<SpaceInfo>>> space(std::optional<std::string> disk) override;
  Task<Outcome<SetSpace>> space_of(std::vector<Spec> specs, bool own_only) override;
  Task<Outcome<std::vector<Spec>>> range(Spec first, Spec last) override;
  Task<Outcome<std::vector<PoolInfo>>> pools() override;
  Task<Outcome<ReclaimInfo>> reclaim(std::optional<std::string> disk) override;
  Task<Outcome<Allocated>> allocated(Spec spec, std::chrono::nanoseconds budget) override;
  Task<Outcome<std::vector<DiffRange>>> diff(Spec from, Spec to, std::uint64_t from_offset) override;
  Task<Outcome<std::unique_ptr<BlockDevice>>> open_device(Spec spec, Access access, Holder holder) override;
  Task<Outcome<CheckReport>> check(bool read_data) override;
  Task<Outcome<std::string>> dump() override;
  Task<Outcome<>> wait_for_reclaim() override;
  Task<Outcome<>> close() override;

  void start();
  // Before start(): the engine keeps what is written in memory.
  void set_read_only(std::string reason) { read_only_ = std::move(reason); }

 private:
  struct OpenBy : Holder {
    bool writes = false;
    bool attached = false;  // by an attachment
  };
  // Who has a node open, and how a message names them.
  [[nodiscard]] std::size_t holders_of(NodeId node) const;
  [[nodiscard]] std::string first_holder(NodeId node) const;
  std::function<void()> held_by(NodeId node, OpenBy holder);
  void let_go(NodeId node, std::list<OpenBy>::iterator place);
  // Refuses a writer beside one that comes by another way.
  [[nodiscard]] Outcome<> require_no_other_way(NodeId node, const Spec& spec, const Holder& holder) const;

  // Refuses where the store is read-only.
  Outcome<> require_writable() const;
  Outcome<const TreeDisk*> require_disk(const std::string& name);
  Outcome<TreeNode*> require_node(const Spec& spec);
  Outcome<> require_free_name(const std::string& name);
  Outcome<> require_unattached(const TreeDisk& disk, const std::string& verb);
  // Stages one record and makes it durable.
  Task<Outcome<>> change(std::function<Tree::Edits()> plan, std::string object);
  Task<Outcome<>> finish(std::uint64_t position, std::string object);

  // A verb that changes something: where that may be, and with no other one beside it. `verb` does not begin
  // before.
  template <class T>
  Task<Outcome<T>> exclusively(Task<Outcome<T>> verb) {
    auto writable = require_writable();
    if (!writable) co_return std::unexpected(writable.error());
    co_await verbs_.lock();
    auto done = co_await verb;
    verbs_.unlock();
    co_return done;
  }
  // The bodies of those verbs.
  Task<Outcome<>> do_create(std::string name, std::uint64_t size_bytes, DiskPolicy policy);
  Task<Outcome<std::uint64_t>> do_create_over(std::string name, std::uint64_t size_bytes, DiskPolicy policy,
                                              BaseSource base);
  Task<Outcome<>> do_set_base(std::string name, BaseSource base);
  // The base of the tree that the node belongs to can be read, or there is none.
  Outcome<> require_base(const TreeNode& node);
  Outcome<> require_not_flattening(const TreeDisk& disk);
  [[nodiscard]] std::string base_failure(const std::string& disk, const Base& base,
                                         const BaseValue& value) const;
  [[nodiscard]] std::optional<BaseInfo> describe_base(BranchId branch) const;
  void tell_bad_bases();
  void check_bases(CheckReport& report);
  // Disks and snapshots of a tree, in the trash too.
  [[nodiscard]] std::vector<NodeId> living_over(BranchId root) const;
  struct Flattening {
    BranchId root;
    std::string name;  // of the disk, as it was
    FlattenPace pace = FlattenPace::kBackground;
    std::uint64_t copied_bytes = 0;
    std::uint64_t total_bytes = 0;
    bool stop = false;
    bool running = true;
    std::string problem;
  };
  Task<Outcome<>> do_start_flatten(std::string name, FlattenPace pace);
  [[nodiscard]] Outcome<> require_sole_user(const std::string& name, NodeId head, BranchId root) const;
  Task<Outcome<>> mark_flattening(BranchId root, bool flattening, std::string object);
  void begin_flatten(const TreeNode& head, BranchId root, FlattenPace pace);
  Task<void> run_flatten(std::shared_ptr<Flattening> job, std::shared_ptr<Head> head,
                         std::function<void()> let_go);
  Task<Result<>> fill_head(Flattening& job, Head& head);
  Task<void> end_flatten(Flattening& job, Result<> filled);
  void tell_of(const Flattening& job, const std::string& what) const;
  Task<void> interrupt_flattens();
  void resume_flattens();
  Task<Outcome<>> do_snapshot(std::vector<Spec> specs, SnapshotOptions options, bool scheduled);
  Task<Outcome<>> do_hold(Spec snapshot, std::string tag);
  Task<Outcome<std::string>> do_release(Spec snapshot, std::string tag);
  Outcome<TreeNode*> require_snapshot(const Spec& spec, const char* verb);
  Task<Outcome<std::string>> do_rollback(std::vector<Spec> to, RollbackOptions options);
  Task<Outcome<std::string>> rollback_online(std::vector<Spec> to, RollbackOptions options);
  using Gates = std::map<DiskId, AttachmentGate*>;
  Outcome<> require_behind(const Gates& gates, const std::vector<Spec>& to) const;
  Task<Outcome<std::string>> roll_back_behind(const Gates& gates, std::vector<Spec> to,
                                              RollbackOptions options);
  Outcome<std::vector<Tree::Return>> plan_returns(const std::vector<Spec>& to, bool online);
  Outcome<> require_only_attachments(const Spec& to) const;
  // The name that each of the disks can keep its head under.
  Outcome<std::string> choose_kept_name(const std::vector<Spec>& to, const RollbackOptions& options) const;
  Task<Outcome<>> do_clone(Spec from, std::string new_disk);
  // What a removal takes: nodes with their names, and the disks among them.
  struct Leaving {
    std::vector<std::pair<NodeId, Spec>> nodes;
    std::vector<DiskId> disks;
    std::set<NodeId> ids;  // of `nodes`
    std::vector<std::pair<NodeId, Spec>> bookmarks;
    void add(NodeId node, Spec spec);
    [[nodiscard]] bool contains(NodeId node) const { return ids.contains(node); }
    [[nodiscard]] bool contains(DiskId disk) const;
  };
  Outcome<Leaving> plan_leaving(const std::vector<Spec>& specs, bool with_snapshots);
  Outcome<> check_leaving(const Leaving& leaving, bool to_trash);
  Task<Outcome<>> do_remove(std::vector<Spec> specs, bool with_snapshots);
  Task<Outcome<>> do_trash(std::vector<Spec> specs, bool with_snapshots, std::int64_t now_ms);
  Task<Outcome<>> do_undelete(std::string disk, std::string new_name);
  Task<Outcome<>> do_purge(std::vector<std::string> disks);
  Task<Outcome<>> purge_disk(DiskId disk);
  Task<Outcome<>> do_set_expiry(Spec snapshot, std::int64_t expires_unix_ms);
  // With the bookmarks of disks that go.
  Task<Outcome<>> kill(std::vector<NodeId> nodes, std::string object, std::set<NodeId> bookmarks = {});
  Task<Outcome<>> do_keep_changes(std::vector<Spec> snapshots);
  // Snapshots whose data was given up (store_bookmarks.cpp). Ids of nodes; 0: it is none.
  [[nodiscard]] NodeId bookmark(const Spec& spec) const;
  Outcome<> check_bookmark_removal(NodeId id, const Spec& spec) const;
  NodeInfo describe_bookmark(NodeId id) const;
  Task<Outcome<NodeInfo>> with_woven_parent(NodeInfo info, std::string disk);
  void weave_bookmarks(std::optional<DiskId> only, std::vector<NodeInfo>& nodes) const;
  std::unique_ptr<BlockDevice> open_bookmark(NodeId bookmark, Holder holder);
  // What a diff begins at; it stays as long as the pin is held.
  struct DiffPoint {
    NodeId id;
    View view;
    std::uint64_t size_bytes = 0;
    bool data = true;
  };
  Outcome<DiffPoint> require_diff_point(const Spec& spec);
  void pin(const DiffPoint& base, int step);
  Task<Result<std::vector<BlockDifference>>> find_differences(DiffPoint a, DiffPoint b, BlockIndex from);
  Task<Outcome<RemovalPreview>> do_preview_removal(std::vector<Spec> specs, bool with_snapshots,
                                                   bool to_trash);
  Task<Outcome<>> do_set_schedule(std::string disk, Schedule rules);
  Task<Outcome<ScheduleInfo>> do_schedule(std::string disk, std::optional<Schedule> rules);
  Task<Outcome<>> run_schedules();
  Task<Outcome<>> run_schedule(DiskId id);
  Task<Outcome<>> prune(DiskId id, Schedule rules);
  std::string scheduled_name(DiskId disk, const Schedule& rules, std::int64_t now_ms);
  // Oldest first.
  [[nodiscard]] std::vector<NodeId> scheduled_nodes(DiskId disk) const;
  [[nodiscard]] std::vector<std::int64_t> times_of(const std::vector<NodeId>& nodes) const;
  Task<Outcome<>> expire_snapshots();
  Task<Outcome<>> empty_old_trash();
  [[nodiscard]] bool look_into_forks();
  std::optional<std::chrono::nanoseconds> looked_into_forks_;
  Task<bool> make_room();
  Task<void> keep_policies();
  Task<void> stop_policies();
  void start_policies();
  // Those that wait longest first; what another disk stands on comes behind that disk.
  [[nodiscard]] std::vector<DiskId> oldest_trash() const;
  // A disk, other than the node's own, of which something that stays stands on it.
  [[nodiscard]] const TreeNode* stands_on(const TreeNode& node,
                                          const std::function<bool(const TreeNode&)>& stays) const;
  [[nodiscard]] std::int64_t wall_now() const;
  void tell_once(const std::string& text);
  // Attachments (store_attachments.cpp).
  AttachmentGate& gate_of(DiskId disk);
  // One that may write, or may come to; the one that writes first.
  [[nodiscard]] const AttachmentValue* live_attachment(DiskId disk) const;
  [[nodiscard]] const AttachmentValue* find_attachment(DiskId disk, const std::string& token) const;
  [[nodiscard]] std::string client_of(DiskId disk, std::uint64_t epoch) const;
  [[nodiscard]] std::string attachment_text(DiskId disk, const AttachmentValue& attachment) const;
  [[nodiscard]] AttachmentInfo describe(DiskId disk, const AttachmentValue& attachment) const;
  [[nodiscard]] const OpenBy* plain_holder(NodeId node, bool writes) const;
  Outcome<> require_no_attachment(const TreeDisk& disk, const std::string& verb) const;
  Task<Outcome<>> change_attachments(DiskId disk, std::function<void(AttachmentsValue&)> edit, bool durable);
  Task<Outcome<>> promote(DiskId disk, std::uint64_t epoch);
  Task<Outcome<AttachmentInfo>> do_attach(std::string disk, AttachOptions options);
  // Those that `whom` names are gone, or fenced.
  using Whom = std::function<bool(const AttachmentValue&)>;
  enum class Ending : std::uint8_t { kDetached, kFenced };
  Task<Outcome<std::vector<AttachmentInfo>>> end_attachments(std::string disk, Whom whom, Ending ending);
  Task<Outcome<std::vector<AttachmentInfo>>> do_end(DiskId disk, Whom whom, Ending ending);
  Outcome<const AttachmentValue*> require_attachment(const std::string& name, const std::string& token);
  Task<Outcome<std::unique_ptr<BlockDevice>>> do_open_device(Spec spec, Access access, Holder holder);
  Task<Outcome<std::unique_ptr<BlockDevice>>> do_open_attachment(std::string name, std::string token,
                                                                 Holder holder);
  std::unique_ptr<BlockDevice> open_head(NodeId head, const std::string& disk, bool read_only, OpenBy holder);
  Task<Outcome<>> do_rename(Spec from, std::string to);
  Task<Outcome<>> do_set_policy(std::string name, DiskPolicy policy);
  Task<Outcome<>> do_resize(std::string disk, std::uint64_t size_bytes);
  Task<Outcome<CheckReport>> do_check(bool read_data);
  Outcome<> check_snapshot_specs(const std::vector<Spec>& specs);
  Outcome<> check_removal(const TreeNode& node, const Spec& spec, const Leaving& leaving, bool to_trash);
  Task<Outcome<>> finish_cut(DiskId disk, LeafIndex up_to);
  Task<void> finish_cuts();
  Task<Outcome<>> clear_beyond(const TreeDisk& disk, std::uint64_t from_bytes, std::uint64_t to_bytes);
  NodeInfo describe(const TreeNode& node);
  // Quotas (store_quotas.cpp). Before the disk is written: what it has taken is counted.
  Task<Outcome<>> do_set_quota(std::string disk, std::uint64_t limit_bytes);
  Task<Outcome<>> count_charge(DiskId disk, std::uint64_t limit_bytes);
  Task<Outcome<>> count_for_quota(DiskId disk);
  [[nodiscard]] QuotaInfo quota_of(DiskId disk) const;
  // Space; the caller sees to it that nodes stay.
  Task<Outcome<>> add_space_rows(DiskId disk, VisibleBlocks& visible, std::vector<SpaceInfo>& rows);
  Task<Outcome<SetSpace>> count_set(std::vector<NodeId> nodes, bool own_only, std::string object);

  Scheduler& scheduler_;
  std::unique_ptr<Engine> engine_;
  Housekeeper housekeeper_;
  AllocatedCounts allocated_counts_;
  AsyncMutex verbs_;
  // Held by whoever changes what is in the trash, or needs it to stay. Taken behind verbs_, and never held
  // while a writer is waited for: a writer that finds the pool full waits for it.
  AsyncMutex trash_lock_;
  std::function<std::int64_t()> wall_clock_;
  std::chrono::nanoseconds policy_interval_;
  WaitGroup policies_running_;
  bool policies_stopping_ = false;
  std::map<BranchId, std::shared_ptr<Flattening>> flattenings_;  // by root; those that ended, too
  WaitQueue flatten_ended_;
  std::set<std::string> told_;     // by the last round of policies
  std::set<std::string> telling_;  // by this one
  std::map<NodeId, std::list<OpenBy>> holders_;
  std::map<DiskId, std::unique_ptr<AttachmentGate>> gates_;  // of disks whose attachments were asked for
  std::map<NodeId, int> bookmark_pins_;
  bool closed_ = false;
  std::string read_only_;
};

// The invariants of map, allocation and tree. No verb and no reclaim may run meanwhile; writers may.
Task<Outcome<CheckReport>> check_engine(Scheduler& scheduler, Engine& engine, bool read_data);
Task<Outcome<std::string>> dump_engine(Scheduler& scheduler, Engine& engine);

}  // namespace coppice
