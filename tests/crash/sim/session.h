// Session: one life of the store, from its opening to its crash or close: recovery is checked against the
// oracle, then clients and a control program work on it at the same time.
//
// It lives on the heap and is left behind by a crash, as its coroutines are.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "machine.h"
#include "oracle.h"

namespace coppice::sim {

// A verb that was under way when the process died: it happened, or it did not.
struct PendingVerb {
  enum class Kind : std::uint8_t {
    kNone,
    kCreate,
    kSnapshot,
    kRemove,
    kClone,
    kRollback,
    kResize,
    kSetPolicy,
    kKeepChanges,
    kDropBookmark,
    kHold,  // or a release
    kExpiry,
    kPolicies,
    kQuota,
    kSchedule,
    kTrash,
    kUndelete,
  };
  Kind kind = Kind::kNone;
  std::vector<Spec> specs;
  std::string name;  // of the new disk, or what a rollback keeps the head as
  std::uint64_t size = 0;
  bool strict = false;                  // created so, or set to it
  bool over_base = false;               // created so
  Tick since = 0;                       // the policy, if it was set
  std::int64_t time_ms = 0;             // of a snapshot's end; when a disk went to the trash
  std::vector<SnapshotModel> captured;  // snapshots: of each disk; rollback: of the head
  std::shared_ptr<SnapshotSet> set;
  Schedule schedule;
  std::map<std::string, SnapshotModel> scheduled;  // what a schedule's next snapshot may hold, by disk
};

// A program that leads to one state; from there on the run forks at each step.
class Session;
struct Scene {
  std::string_view name;
  Task<void> (Session::*play)();
  std::uint64_t phases = 1;         // lives
  bool recovery_at_stake = false;   // the last life forks from its opening on
  Crash crash = Crash::kPower;      // how the first life ends, or how the first crash of a fork is
  std::uint64_t failing_phase = 0;  // the first sync of this life fails
  bool map_lost = false;            // with the first life
  std::uint64_t journal_bytes = 1 << 20;
  std::size_t cache_bytes = 256 << 10;
  std::chrono::nanoseconds settle{};  // before background work begins
};
const Scene* find_scene(std::string_view name);
Shape scene_shape(Rng& rng, const Scene& scene);

// What the whole run of a seed shares.
struct Shared {
  Rng& rng;
  Machine& machine;
  Oracle oracle;
  PendingVerb pending;
  std::uint64_t names = 0;
  std::string violation;        // the first one
  bool damage_allowed = false;  // a fault was injected: operations may fail with EIO
  bool dump = false;
  bool attachments = false;
  std::string favour;  // every other verb is this one
  const Scene* scene = nullptr;
  std::uint64_t phase = 0;
  bool at_stake = false;     // fork at each step
  bool scene_ended = false;  // of this phase
  std::uint64_t operations = 0;
  std::uint64_t verbs = 0;

  void violate(std::string what) {
    if (violation.empty()) violation = std::move(what);
  }
};

class Session {
 public:
  explicit Session(Shared& shared) : shared_(shared), process_(shared.machine) {}
  SimScheduler& scheduler() { return process_.scheduler; }

  // Opens, reconciles the oracle with what is there, starts housekeeping and the clients. `moment`: what was
  // lost.
  Task<void> start(Moment moment);
  [[nodiscard]] bool started() const { return started_; }
  // Ends the clients, checks everything, closes the store.
  Task<void> finish(bool close);
  [[nodiscard]] bool finished() const { return finished_; }
  // At a crash: snapshots under way are captured as they could be.
  void note_crash();
  [[nodiscard]] Process& process() { return process_; }
  // What it is doing, for a hang's report.
  [[nodiscard]] std::string doing() const;

 private:
  struct OpenDisk {
    std::string name;
    std::unique_ptr<BlockDevice> device;
    bool paused = false;
    std::uint64_t users = 0;
  };

  // Recovery.
  Task<void> reconcile(Moment moment);
  Task<void> settle_pending();
  Task<bool> exists(Spec spec);
  Task<void> check_all(Moment moment);
  Task<void> check_names();
  Task<void> check_trash();
  void check_policies(const NodeInfo& node, const SnapshotModel& model);
  Task<void> settle_policies();
  Task<void> settle_trash(PendingVerb& verb);
  Task<bool> in_trash(std::string name);
  Task<void> check_head(DiskModel& disk, Moment moment);
  Task<void> check_ends();
  Task<void> check_snapshot(DiskModel& disk, std::string name);
  Task<void> check_store(bool running);
  Task<void> count_blocks();
  Task<void> compare_copy();
  Task<void> print_dump(CheckReport report);
  Task<Result<>> read_all(Spec spec, std::vector<SectorContent>& into);
  Task<void> learn_head(DiskModel& disk);

  // Clients.
  Task<void> open_disk(std::string name);
  Task<void> client(std::string name, std::uint64_t seed);
  Task<void> one_operation(DiskModel& disk, BlockDevice& device, Rng& rng);
  Task<void> do_write(DiskModel& disk, BlockDevice& device, Rng& rng);
  Task<void> write_range(DiskModel& disk, BlockDevice& device, std::uint64_t first, std::uint64_t count,
                         bool force_unit_access);
  Task<void> zero_range(DiskModel& disk, BlockDevice& device, std::uint64_t first, std::uint64_t count);
  Task<void> do_zero(DiskModel& disk, BlockDevice& device, Rng& rng);
  Task<void> do_read(DiskModel& disk, BlockDevice& device, Rng& rng);
  Task<void> read_range(DiskModel& disk, BlockDevice& device, std::uint64_t first, std::uint64_t count);
  Task<void> do_flush(DiskModel& disk, BlockDevice& device);
  void start_clients(const std::string& name);

  // Scenes: their helpers (session_scenes.cpp), …
  friend const Scene* find_scene(std::string_view name);
  Task<void> play();
  void beside(Task<void> work);
  Task<void> counted(Task<void> work);
  Task<void> scene_disk(std::string name, std::uint64_t blocks, bool strict = false, bool over_base = false);
  Task<void> scene_write(std::string name, std::uint64_t block, std::uint64_t count);
  Task<void> scene_flush(std::string name);
  Task<void> scene_snapshot(std::string disk, std::string name);
  Task<void> scene_remove(std::string disk, std::string name);
  Task<void> scene_settled();
  // … of sweeps (session_scenes_sweeps.cpp),
  Task<void> play_sweep();
  Task<void> play_folded();
  Task<void> play_ahead();
  Task<void> play_unnamed();
  Task<void> play_overtaken();
  Task<void> play_bookmark();
  Task<void> scene_back(DiskModel& disk, std::string target);
  Task<void> sweeps_ended();
  Task<void> play_settled();
  Task<void> play_replaced();
  Task<void> first_step_of_sweep();
  Task<void> hold_round();
  Task<void> flush_on();
  Task<void> write_on(std::uint64_t block, std::uint64_t count);
  // … of commits (session_scenes_commit.cpp),
  Task<void> play_early();
  Task<void> play_reader();
  Task<void> play_kept();
  Task<void> play_flatten();
  Task<void> play_schedule();
  Task<void> play_fence();
  // … of checkpoints and the copy (session_scenes_checkpoint.cpp),
  Task<void> play_marks();
  Task<void> play_retaken();
  Task<void> play_collected();
  Task<void> play_uncopied();
  Task<void> play_ring();
  Task<void> scene_hole();
  Task<void> play_trimmed();
  Task<void> play_base();
  Task<void> play_deleted();
  Task<void> play_punched();
  Task<void> play_unwanted();
  Task<void> play_fork();
  Task<void> begin_checkpoint();
  Task<void> run_checkpoint();
  Task<void> write_fresh();
  // … of recoveries (session_scenes_recovery.cpp).
  Task<void> play_suspects();
  Task<void> play_redo();
  Task<void> play_unsynced();
  Task<void> play_superblocks();
  Task<void> play_tail();
  Task<void> play_partial();
  Task<void> play_failed();
  Task<void> play_restored();
  Task<void> before_failed_sync();
  Task<void> play_untold();
  Task<void> play_quota();
  Task<void> play_unwritten();

  // Control.
  Task<void> control(std::uint64_t seed);
  struct Verb {
    std::uint64_t percent;
    const char* name;
    Task<void> (Session::*run)(Rng&);
  };
  const Verb& choose_verb(Rng& rng) const;
  Task<void> one_verb(Rng& rng);
  Task<void> verb_snapshot(Rng& rng);
  Task<void> verb_remove_snapshots(Rng& rng);
  Task<void> verb_remove_disk(Rng& rng);
  Task<void> verb_clone(Rng& rng);
  Task<void> verb_create(Rng& rng);
  Task<void> verb_rollback(Rng& rng);
  Task<void> roll_back(std::vector<Spec> to, std::string keep);
  void note_rolled_back(PendingVerb& verb);
  Task<void> verb_resize(Rng& rng);
  Task<void> verb_set_policy(Rng& rng);
  Task<void> verb_flatten(Rng& rng);
  Task<void> flatten(std::string name, Rng& rng);
  Task<void> end_flattens();
  Task<void> verb_diff(Rng& rng);
  void check_diff(const std::string& what, const std::vector<DiffRange>& ranges, const SnapshotModel& from,
                  const SnapshotModel& to);
  // … of bookmarks (session_bookmarks.cpp).
  Task<void> verb_bookmark(Rng& rng);
  Task<void> verb_keep_changes(DiskModel& disk, std::string name);
  Task<void> verb_drop_bookmark(DiskModel& disk, std::string name);
  Task<void> verb_diff_bookmark(DiskModel& disk, std::string from, std::string to);
  Task<void> settle_bookmark(PendingVerb& verb);
  // … of policies (session_policies.cpp).
  Task<void> verb_hold(Rng& rng);
  Task<void> verb_expiry(Rng& rng);
  Task<void> verb_policies(Rng& rng);
  Task<void> run_policies();
  Task<void> verb_trash(Rng& rng);
  Task<void> verb_undelete(Rng& rng);
  // … of quotas (session_quotas.cpp).
  Task<void> verb_quota(Rng& rng);
  void note_quota(DiskModel& disk, std::uint64_t limit);
  Task<void> check_quota(DiskModel& disk);
  Task<void> count_charges();
  // … of schedules (session_schedules.cpp).
  Task<void> verb_schedule(Rng& rng);
  Task<void> set_schedule(DiskModel& disk, Schedule rules);
  static void note_schedule(DiskModel& disk, const Schedule& rules);
  void capture_scheduled();
  Task<void> settle_scheduled(bool acknowledged);
  void settle_schedule(DiskModel& disk, const std::vector<NodeInfo>& nodes, bool acknowledged);
  // … of attachments (session_attachments.cpp).
  Task<void> verb_attach(Rng& rng);
  Task<void> hand_over(DiskModel& disk, Rng& rng);
  struct Writer;
  Task<void> write_as(DiskModel& disk, Writer& writer, Rng& rng);
  Task<void> settle_attachments();
  [[nodiscard]] Spec pick_snapshot(Rng& rng) const;
  Task<void> pause(std::string name);
  Task<void> resume(std::string name);
  Task<void> stop_clients();
  [[nodiscard]] std::string pick_disk(Rng& rng) const;
  // A device was made to fail in this life.
  [[nodiscard]] bool fault() const { return shared_.machine.disk.faults.fired; }
  void conclude(bool done);
  bool failed_rightly(const Failure& failure, const std::string& verb);
  void refuse_error(const std::string& what, const Error& error);

  Shared& shared_;
  Process process_;
  std::map<std::string, std::unique_ptr<OpenDisk>> open_;
  bool started_ = false;
  bool stopping_ = false;
  bool finished_ = false;
  std::uint64_t tasks_ = 0;
  std::string doing_;
  std::map<std::uint64_t, std::string> under_way_;  // requests and verbs
  std::uint64_t requests_ = 0;
};

}  // namespace coppice::sim
