// Store: the control plane. Disks, snapshots, and the tree they stand in.
//
// One process holds a store at a time. All calls on the reactor that opened it; verbs may be awaited at the
// same time and are serialised inside. When a verb that changes something returns without a Failure, the
// change is durable. A verb that fails has changed nothing.
// Names: 1–255 of A-Z a-z 0-9 . _ : - , not starting with - or . ; a snapshot is written disk@snapshot.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coppice/attachment.h"
#include "coppice/block_device.h"
#include "coppice/reactor.h"
#include "coppice/result.h"
#include "coppice/task.h"

namespace coppice {

// A disk, or a snapshot of it when `snapshot` is not empty.
struct Spec {
  std::string disk;
  std::string snapshot;
  [[nodiscard]] bool is_snapshot() const { return !snapshot.empty(); }
  [[nodiscard]] std::string text() const { return is_snapshot() ? disk + "@" + snapshot : disk; }
  bool operator==(const Spec&) const = default;
};
// "disk" or "disk@snapshot"; refuses bad names and says what a name may hold.
Outcome<Spec> parse_spec(const std::string& text);
Outcome<> check_name(const std::string& name);

struct PoolSpec {
  std::string path;
  std::uint64_t size_bytes = 0;  // 0: a file that grows by itself, or the whole block device
};

struct InitOptions {
  std::string directory;
  std::vector<PoolSpec> pools;  // empty: one growing file "pool" inside the directory
};

enum class OpenMode : std::uint8_t {
  kReadWrite,
  // Nothing is written, to whatever belongs to the store. Recovery happens in memory. Several processes may
  // have a store open so at the same time, but none that writes.
  kReadOnly,
};

struct OpenOptions {
  std::string directory;
  // A store that can be read and not written (no permission, a read-only medium, a device that fails writes,
  // a feature that only a newer coppice may write) is opened read-only all the same, with a notice.
  OpenMode mode = OpenMode::kReadWrite;
  std::uint64_t cache_bytes = std::uint64_t{256} << 20;
  // Sync data, then the journal, instead of both at once: slower, and the reference for the other order.
  // Either opens what the other one left.
  bool conservative_flush = false;
  // Told things that a person should read once (O_DIRECT not to be had, a pool on btrfs, waiting for a dead
  // holder's last writes). May be empty.
  std::function<void(const std::string&)> notice;
  // Told what the store did by itself, as it was asked to once: nothing that anybody has to look after.
  // Empty: `notice` is told that, too.
  std::function<void(const std::string&)> event = {};
  // Whether space that was discarded or deleted goes back to the file system, or to the device.
  bool give_back = true;
  // How long to wait for the lock of a holder that is dead but whose last writes still run.
  std::chrono::seconds lock_wait{20};
  // Milliseconds since 1970. Empty: the system's clock.
  std::function<std::int64_t()> wall_clock = {};
  // How often the store removes by itself what has had its time. 0: only run_policies() does.
  std::chrono::nanoseconds policy_interval{0};
};

struct SnapshotOptions {
  std::string note = {};
  std::int64_t expires_unix_ms = 0;  // when it may be removed by itself; 0: never
};

// How many snapshots are kept of each kind: the newest of each of the last so many hours, days, weeks (from
// Monday) and months that have one, in UTC. One is taken in each stretch of the finest kind that is kept.
struct Schedule {
  std::uint64_t hourly = 0;
  std::uint64_t daily = 0;
  std::uint64_t weekly = 0;
  std::uint64_t monthly = 0;
  [[nodiscard]] bool on() const { return hourly != 0 || daily != 0 || weekly != 0 || monthly != 0; }
  bool operator==(const Schedule&) const = default;
};

struct ScheduledSnapshot {
  Spec spec;
  std::int64_t created_unix_ms = 0;
  std::vector<std::string> kept_as;  // "hourly", …; "future": the clock went back. Empty: it is to be removed
};

struct ScheduleInfo {
  Schedule rules;
  std::int64_t next_unix_ms = 0;             // 0: there is no schedule
  std::vector<ScheduledSnapshot> snapshots;  // made by the schedule, oldest first
  std::uint64_t frees_bytes = 0;             // what removing those that are not kept gives back
};

// What a removal would do.
struct RemovalPreview {
  std::vector<Spec> specs;
  std::uint64_t frees_bytes = 0;
};

// A removed disk that can be brought back.
struct TrashInfo {
  std::string disk;
  std::uint64_t size_bytes = 0;
  std::uint64_t snapshots = 0;
  std::uint64_t frees_bytes = 0;  // what its end will give back
  std::int64_t removed_unix_ms = 0;
  std::int64_t until_unix_ms = 0;  // it is kept so long, while there is room
};

// How a disk is written; it can be changed.
struct DiskPolicy {
  // Every write goes to a fresh block, none over what is there: after a crash each 4 KiB block is the old one
  // or the new one, whole. Costs space and order on the medium (docs/durability.md).
  bool strict = false;
  bool operator==(const DiskPolicy&) const = default;
};

// An image that a disk is to stand on. Whoever has the store open reads it, by its path and with their
// rights.
struct BaseSource {
  std::string path;     // absolute
  int descriptor = -1;  // of the same file, open for reading: proves that who asks may read it. -1: no proof
  BaseFormat format = BaseFormat::kRaw;  // for create_disk_over(); set_base() takes what the base was
};

// Copying a base into the pool.
struct FlattenInfo {
  bool running = false;
  std::uint64_t copied_bytes = 0;  // of what is looked at, what was written already included
  std::uint64_t total_bytes = 0;
  std::string problem;  // why it ended early
};

struct BaseInfo {
  std::string path;
  BaseFormat format = BaseFormat::kRaw;
  std::uint64_t size_bytes = 0;  // of what it holds
  std::string problem;           // why what stands on it can't be opened; empty: it can
  std::optional<FlattenInfo> flatten;
};

// What a disk may take, and has taken: what was written to it and is still in use, by its snapshots or clones
// too.
struct QuotaInfo {
  std::uint64_t limit_bytes = 0;  // 0: no limit
  // Nothing: not counted since the open. That happens before the disk is first written.
  std::optional<std::uint64_t> charged_bytes;
};

// Snapshots of several disks that were taken as one, at one point in time, or kept by one rollback.
struct GroupInfo {
  std::uint64_t id = 0;           // 0: the snapshot stands for itself
  std::uint64_t taken = 0;        // how many they were
  std::vector<Spec> snapshots{};  // told by group() only: those that are still there
};

struct NodeInfo {
  std::uint64_t id = 0;
  std::uint64_t parent = 0;  // 0: the root
  // kChanges: a snapshot whose data was given up; it can only be the first side of a diff.
  enum class Kind : std::uint8_t { kHead, kSnapshot, kDeleted, kChanges } kind = Kind::kHead;
  std::string disk;      // the disk whose node it is
  std::string snapshot;  // empty for heads and deleted nodes
  std::string note;
  std::uint64_t size_bytes = 0;
  std::int64_t created_unix_ms = 0;
  DiskPolicy policy;                 // of heads: their disk's
  QuotaInfo quota;                   // of heads, too
  std::vector<std::string> clones;   // disks (other than `disk`) that continue from this node
  std::uint64_t attachments = 0;     // open devices on it
  std::vector<std::string> holds;    // tags that keep it from being removed
  std::int64_t expires_unix_ms = 0;  // 0: never
  bool scheduled = false;            // made by its disk's schedule, and removed by it
  GroupInfo group = {};
  std::optional<BaseInfo> base = {};  // of the tree that it belongs to
  // Told by info() only: the snapshot that it continues from, the nearest that was not deleted. Empty: none.
  std::string continues = {};
};

// What several take together, each block counted once.
struct SetSpace {
  std::uint64_t own_bytes = 0;     // what only they see: what removing all of them would give back
  std::uint64_t shared_bytes = 0;  // what others see as well
  QuotaInfo quota;                 // of one disk with all its snapshots
};

struct SpaceInfo {
  Spec spec;
  std::uint64_t own_bytes = 0;     // blocks that only this disk or snapshot can see
  std::uint64_t shared_bytes = 0;  // blocks it sees together with others
  std::uint64_t frees_bytes = 0;   // what removing it would give back
  std::optional<SetSpace> disk;    // of heads: their disk with all its snapshots
};

// Space that is on its way back: of snapshots and disks that were removed, and are looked through for blocks
// that nobody else sees.
struct ReclaimInfo {
  std::uint64_t nodes = 0;         // those that are not done
  std::uint64_t looked_bytes = 0;  // of what they held addresses for …
  std::uint64_t total_bytes = 0;   // … so much was looked through; grows with each that is removed
};

struct PoolInfo {
  std::string path;
  std::uint64_t size_bytes = 0;  // data capacity added so far
  std::uint64_t used_bytes = 0;  // allocated to disks and snapshots, incl. what waits to be reclaimed
  // The store's own: the copy of the metadata, what writes in flight have taken, what was freed a moment ago.
  std::uint64_t reserved_bytes = 0;
  bool grows = false;
  // Not added yet; of a growing file as far as its file system goes now.
  std::uint64_t room_bytes = 0;
};

struct DiffRange {
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  bool zero = false;  // the second side reads as zeroes there
};

struct RollbackOptions {
  std::string keep_as;   // empty: a name is made up
  bool discard = false;  // do not keep what the head held
  bool dry_run = false;  // refuse and answer as ever, and change nothing
  // Also while the disk is attached: the clients of its attachments leave, and find the new head when they
  // come back.
  bool online = false;
};

struct CheckReport {
  std::uint64_t leaves = 0;
  std::uint64_t blocks = 0;
  std::uint64_t unverifiable = 0;  // blocks whose checksum is lost: they can't be read
  // The copy of the map in the pool, from which repair_store() would make it anew: "whole", "none" (not made
  // yet, or no space for it), "damaged" (a problem, too).
  std::string metadata_copy;
  std::uint64_t metadata_copy_bytes = 0;
  std::vector<std::string> problems;  // empty: all invariants hold
};

struct RepairReport {
  bool repaired = false;  // false: the map is whole, nothing was done
  std::string damage;     // what was wrong with it
  std::string kept;       // where the old one is now; empty if there was none
};

// kBase: to be compared with. Of a snapshot whose data was given up such a device is all there is; it reads
// nothing.
enum class Access : std::uint8_t { kReadOnly, kReadWrite, kBase };

// What a user is told about who has a disk open ("nbd client pid 4711").
struct Holder {
  std::string description;
  // How it comes to the disk ("NBD"). Those that open a disk for writing by different ways don't know of each
  // other, and keep each other out, unless one is `shared`. Empty: goes with all.
  std::string way = {};
  bool shared = false;
  // Asks an attachment's client to let go of its device soon, and says why. The device is not destroyed
  // within the call. May be empty.
  std::function<void(const std::string& why)> leave = {};
};

class Store {
 public:
  virtual ~Store() = default;

  // Why nothing can be changed here, in one line; empty where it can. Verbs that change something then answer
  // kReadOnly, devices open read-only. It may become so while the store is open: a device has failed.
  [[nodiscard]] virtual std::string read_only() const = 0;
  // Another number whenever tree() might answer something else, but for attachments, than it did before; 0:
  // not counted, ask again each time.
  [[nodiscard]] virtual std::uint64_t changes() const { return 0; }

  virtual Task<Outcome<>> create_disk(std::string name, std::uint64_t size_bytes, DiskPolicy policy = {}) = 0;
  // A disk over an image that is never written. Size 0: the image's. Answers the size.
  virtual Task<Outcome<std::uint64_t>> create_disk_over(std::string name, std::uint64_t size_bytes,
                                                        DiskPolicy policy, BaseSource base) = 0;
  // Where the base is now, for all that stand on it: the same image, by its size and by samples of it.
  virtual Task<Outcome<>> set_base(std::string disk, BaseSource base) = 0;
  // Begins to copy into the pool, in the background, what the disk still reads from its base. In the end it
  // needs the base no more. A disk that shares its base, with snapshots or others, is refused; meanwhile no
  // snapshot can be taken. A crash or a close interrupts it; a store with a policy_interval goes on with it.
  enum class FlattenPace : std::uint8_t { kBackground, kAtOnce };
  virtual Task<Outcome<>> start_flatten(std::string disk, FlattenPace pace) = 0;
  // What was copied stays.
  virtual Task<Outcome<>> stop_flatten(std::string disk) = 0;
  virtual Task<Outcome<>> snapshot(std::vector<Spec> specs, SnapshotOptions options) = 0;
  // A snapshot that is held can't be removed. It may be held by several, each under a tag (a name).
  virtual Task<Outcome<>> hold(Spec snapshot, std::string tag) = 0;
  // Of an empty tag: the only one there is. Answers the tag.
  virtual Task<Outcome<std::string>> release(Spec snapshot, std::string tag) = 0;
  // Several disks, each to a snapshot of its own, go back as one: also across a crash all have or none has.
  // Answers the name under which what each head held was kept, one for all, or an empty one if it was
  // discarded. What several kept is a group.
  virtual Task<Outcome<std::string>> rollback(std::vector<Spec> to, RollbackOptions options) = 0;
  // The new disk has the policy of the one that it comes from.
  virtual Task<Outcome<>> clone(Spec from, std::string new_disk) = 0;
  // Removes snapshots and disks, all or none. A disk with snapshots only if `with_snapshots`.
  virtual Task<Outcome<>> remove(std::vector<Spec> specs, bool with_snapshots) = 0;
  // As remove(), but disks go to the trash, whole, and can be brought back for a day; snapshots named beside
  // them are removed. The name is free at once. Answers until when they are kept. A pool that runs full takes
  // them before, the oldest first.
  virtual Task<Outcome<std::int64_t>> trash(std::vector<Spec> specs, bool with_snapshots) = 0;
  // As remove() of snapshots, but each stays as the first side of diffs: their data is given back, and what
  // was written since is still known. remove() ends that, too.
  virtual Task<Outcome<>> keep_changes(std::vector<Spec> snapshots) = 0;
  // What remove(), or trash(), would take; refuses as they do.
  virtual Task<Outcome<RemovalPreview>> preview_removal(std::vector<Spec> specs, bool with_snapshots,
                                                        bool to_trash) = 0;
  // The one that was removed last, where several had the name. An empty new name: the one that it had.
  virtual Task<Outcome<>> undelete(std::string disk, std::string new_name) = 0;
  // Removes all disks of these names from the trash.
  virtual Task<Outcome<>> purge(std::vector<std::string> disks) = 0;
  // Newest first.
  virtual Task<Outcome<std::vector<TrashInfo>>> trashed() = 0;
  // 0: never.
  virtual Task<Outcome<>> set_expiry(Spec snapshot, std::int64_t expires_unix_ms) = 0;
  // Rules that are not on: the schedule ends, what it made stays.
  virtual Task<Outcome<>> set_schedule(std::string disk, Schedule rules) = 0;
  // As it is, or as it would be under other rules.
  virtual Task<Outcome<ScheduleInfo>> schedule(std::string disk, std::optional<Schedule> rules) = 0;
  // Takes the snapshots that are due; removes what their schedules do not keep, what has expired and what has
  // been in the trash for a day. What stands in the way of one is told once, and it is tried again the next
  // time.
  virtual Task<Outcome<>> run_policies() = 0;
  // A disk or a snapshot; `to` is a bare name.
  virtual Task<Outcome<>> rename(Spec from, std::string to) = 0;
  virtual Task<Outcome<>> resize(std::string disk, std::uint64_t size_bytes) = 0;
  // For all writes from then on. Nobody may have the disk open.
  virtual Task<Outcome<>> set_policy(std::string disk, DiskPolicy policy) = 0;

  // Refuses while somebody else writes to the disk; an incoming attachment only while someone does who has no
  // attachment.
  virtual Task<Outcome<AttachmentInfo>> attach(std::string disk, AttachOptions options) = 0;
  // Oldest first.
  virtual Task<Outcome<std::vector<AttachmentInfo>>> attachments(std::string disk) = 0;
  // Ends attachments and answers which: the one of a token; of an empty one, the only one there is. Its
  // client leaves.
  virtual Task<Outcome<std::vector<AttachmentInfo>>> detach(std::string disk, std::string token) = 0;
  virtual Task<Outcome<std::vector<AttachmentInfo>>> detach_all(std::string disk) = 0;
  // None of the disk's attachments writes any more. Answers those that could have.
  virtual Task<Outcome<std::vector<AttachmentInfo>>> fence(std::string disk) = 0;
  // What the disk may take of the pool; 0: as much as there is. It can be less than what the disk has: then
  // only writes that take more are refused, with kNoSpace. Writers are held off while it is counted.
  virtual Task<Outcome<>> set_quota(std::string disk, std::uint64_t limit_bytes) = 0;

  // Every node in an order in which parents come before their children. Of one disk: its nodes and those on
  // the paths to them.
  virtual Task<Outcome<std::vector<NodeInfo>>> tree(std::optional<std::string> disk) = 0;
  virtual Task<Outcome<NodeInfo>> info(Spec spec) = 0;
  // What a snapshot was taken with, itself too, by disks' names.
  virtual Task<Outcome<GroupInfo>> group(Spec snapshot) = 0;
  virtual Task<Outcome<std::vector<SpaceInfo>>> space(std::optional<std::string> disk) = 0;
  // Of all that is named, together. To the block while nobody writes. `own_only`: what they share is left 0.
  virtual Task<Outcome<SetSpace>> space_of(std::vector<Spec> specs, bool own_only) = 0;
  // The snapshots of a line, oldest first, both ends included: from `first` (a bare disk: its beginning) to
  // `last` (a bare disk: its head). Those of other disks, from which the line was cloned, are not in it.
  virtual Task<Outcome<std::vector<Spec>>> range(Spec first, Spec last) = 0;
  virtual Task<Outcome<std::vector<PoolInfo>>> pools() = 0;
  // Of one disk and its snapshots, or of all that there were.
  virtual Task<Outcome<ReclaimInfo>> reclaim(std::optional<std::string> disk) = 0;
  // What of a disk or snapshot is allocated, shared or not. Holds nothing up: not a verb, nor an attachment.
  // It is exact if the map could be gone through within `budget`; what was not looked at then counts as
  // allocated.
  struct Allocated {
    std::uint64_t bytes = 0;
    bool exact = false;
  };
  virtual Task<Outcome<Allocated>> allocated(Spec spec, std::chrono::nanoseconds budget) {
    (void)budget;
    co_return refuse(ErrorKind::kUnsupported, spec.text() + ": what is allocated can't be told");
  }
  // Blocks (4 KiB) whose content may differ, in order, not overlapping, from `from_offset` on. Behind its end
  // the first side counts as zeroes. kUntracked: they are not of one tree.
  virtual Task<Outcome<std::vector<DiffRange>>> diff(Spec from, Spec to, std::uint64_t from_offset) = 0;

  // Opens for I/O. Several devices may be open on one disk; they see each other's completed writes. A disk
  // that is attached can be opened for reading only.
  virtual Task<Outcome<std::unique_ptr<BlockDevice>>> open_device(Spec spec, Access access,
                                                                  Holder holder) = 0;

  // The disk, for the owner of an attachment that is not fenced. One device at a time: who has it open
  // leaves, and all that they had asked for is done before this answers.
  virtual Task<Outcome<std::unique_ptr<BlockDevice>>> open_attachment(std::string disk, std::string token,
                                                                      Holder holder) = 0;

  // Verifies that the map, the allocation and the tree agree, once deleted nodes are reclaimed; disks may be
  // written meanwhile. With `read_data` also every checksum.
  virtual Task<Outcome<CheckReport>> check(bool read_data) = 0;
  // The metadata as text, for people and bug reports.
  virtual Task<Outcome<std::string>> dump() = 0;

  // Waits until space of removed nodes has come back.
  virtual Task<Outcome<>> wait_for_reclaim() = 0;
  // Commits, checkpoints and lets go. No device may be open. The object can only be destroyed afterwards.
  virtual Task<Outcome<>> close() = 0;
};

// Makes the directory and its pools. Refuses what exists.
Task<Outcome<>> init_store(Reactor& reactor, InitOptions options,
                           std::function<void(const std::string&)> notice);
// Makes the map of a store that nobody has open anew from the copy in its pool, if it is lost or damaged.
// What was there is kept under another name. The pool is not written.
Task<Outcome<RepairReport>> repair_store(Reactor& reactor, OpenOptions options);
Task<Outcome<std::unique_ptr<Store>>> open_store(Reactor& reactor, OpenOptions options);

}  // namespace coppice
