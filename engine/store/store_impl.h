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
#include "store/engine.h"
#include "store/housekeeper.h"
#include "store/store_directory.h"

namespace coppice {

class StoreImpl final : public Store {
 public:
  StoreImpl(Scheduler& scheduler, std::unique_ptr<Engine> engine, HousekeepingOptions options = {});
  ~StoreImpl() override = default;

  [[nodiscard]] std::string read_only() const override;
  [[nodiscard]] std::uint64_t changes() const override { return engine_->tree().changes(); }
  Task<Outcome<>> create_disk(std::string name, std::uint64_t size_bytes, DiskPolicy policy) override;
  Task<Outcome<>> snapshot(std::vector<Spec> specs, SnapshotOptions options) override;
  Task<Outcome<>> hold(Spec snapshot, std::string tag) override;
  Task<Outcome<std::string>> release(Spec snapshot, std::string tag) override;
  Task<Outcome<std::string>> rollback(Spec to, RollbackOptions options) override;
  Task<Outcome<>> clone(Spec from, std::string new_disk) override;
  Task<Outcome<>> remove(std::vector<Spec> specs, bool with_snapshots) override;
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
  Task<Outcome<std::vector<NodeInfo>>> tree(std::optional<std::string> disk) override;
  Task<Outcome<NodeInfo>> info(Spec spec) override;
  Task<Outcome<std::vector<SpaceInfo>>> space(std::optional<std::string> disk) override;
  Task<Outcome<std::vector<PoolInfo>>> pools() override;
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
  struct Attachment {
    Holder holder;
    Access access = Access::kReadOnly;
  };
  // Who has a node open, and how a message names them.
  [[nodiscard]] std::size_t holders_of(NodeId node) const;
  [[nodiscard]] std::string first_holder(NodeId node) const;
  void detach(NodeId node, std::list<Attachment>::iterator place);
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

  // The bodies of the verbs that change something, one at a time.
  Task<Outcome<>> do_create(std::string name, std::uint64_t size_bytes, DiskPolicy policy);
  Task<Outcome<>> do_snapshot(std::vector<Spec> specs, SnapshotOptions options, bool scheduled);
  Task<Outcome<>> do_hold(Spec snapshot, std::string tag);
  Task<Outcome<std::string>> do_release(Spec snapshot, std::string tag);
  Outcome<TreeNode*> require_snapshot(const Spec& spec, const char* verb);
  Task<Outcome<std::string>> do_rollback(Spec to, RollbackOptions options);
  Task<Outcome<>> do_clone(Spec from, std::string new_disk);
  // What a removal takes: nodes with their names, and the disks among them.
  struct Leaving {
    std::vector<std::pair<NodeId, Spec>> nodes;
    std::vector<DiskId> disks;
    [[nodiscard]] bool contains(NodeId node) const;
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
  Task<Outcome<>> kill(std::vector<NodeId> nodes, std::string object);
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
  Task<Outcome<>> do_rename(Spec from, std::string to);
  Task<Outcome<>> do_set_policy(std::string name, DiskPolicy policy);
  Task<Outcome<>> do_resize(std::string disk, std::uint64_t size_bytes);
  Task<Outcome<CheckReport>> do_check(bool read_data);
  Outcome<> check_snapshot_specs(const std::vector<Spec>& specs);
  Outcome<> check_removal(const TreeNode& node, const Spec& spec, const Leaving& leaving, bool to_trash);
  Task<Outcome<>> clear_beyond(const TreeDisk& disk, std::uint64_t from_bytes, std::uint64_t to_bytes);
  NodeInfo describe(const TreeNode& node);

  Scheduler& scheduler_;
  std::unique_ptr<Engine> engine_;
  Housekeeper housekeeper_;
  AsyncMutex verbs_;
  // Held by whoever changes what is in the trash, or needs it to stay. Taken behind verbs_, and never held
  // while a writer is waited for: a writer that finds the pool full waits for it.
  AsyncMutex trash_lock_;
  std::function<std::int64_t()> wall_clock_;
  std::chrono::nanoseconds policy_interval_;
  WaitGroup policies_running_;
  bool policies_stopping_ = false;
  std::set<std::string> told_;     // by the last round of policies
  std::set<std::string> telling_;  // by this one
  std::map<NodeId, std::list<Attachment>> holders_;
  bool closed_ = false;
  std::string read_only_;
};

// The invariants of map, allocation and tree. No verb and no reclaim may run meanwhile; writers may.
Task<Outcome<CheckReport>> check_engine(Scheduler& scheduler, Engine& engine, bool read_data);
Task<Outcome<std::string>> dump_engine(Scheduler& scheduler, Engine& engine);

}  // namespace coppice
