// The tree as values of the `meta` column family.
//
//   "branch/<id>"  BranchValue     "node/<id>"  NodeValue     "disk/<id>"  DiskValue
//   "counters"     CountersValue   "applied"    AppliedValue  "store"      StoreValue
//   "suspects"     SuspectsValue   "trash/<id>"  TrashValue
//   "schedule/<id>" ScheduleValue   "attach/<id>" AttachmentsValue   "base/<branch id>" BaseValue
//   "bookmark/<node id>" BookmarkValue   "quota/<disk id>" QuotaValue
// Ids are 16 lower-case hex digits. Each value starts with a version byte: 1, or the lowest one that can hold
// it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/uuid.h"
#include "coppice/types.h"

namespace coppice {

// A line of epochs. What it does not map itself stands at (parent, fork_epoch).
struct BranchValue {
  BranchId parent;  // 0: a root
  Epoch fork_epoch;
  Epoch current;  // the epoch that new writes of the head get; meaningless without a head
  bool operator==(const BranchValue&) const = default;
};

enum class NodeState : std::uint8_t {
  kHead = 1,      // a disk's writable head
  kSnapshot = 2,  // named, readable
  kDead = 3,      // deleted or never completed; its space is being given back
};

// What snapshots of several disks have in common that were taken as one, or kept by one rollback.
struct NodeGroup {
  NodeId id;                // one of theirs; it may have left the tree. 0: the snapshot stands for itself
  std::uint64_t taken = 0;  // how many they were
  bool operator==(const NodeGroup&) const = default;
};

struct NodeValue {
  NodeState state = NodeState::kDead;
  NodeId parent;  // nearest ancestor that is still in the tree; 0: none
  DiskId disk;
  BranchId branch;
  Epoch epoch;  // for heads: 0, their branch's current epoch counts
  std::uint64_t size_bytes = 0;
  std::int64_t created_unix_ms = 0;
  std::string name;  // of the snapshot
  std::string note;
  LeafIndex cursor;  // dead nodes: leaves below were given back; heads: leaves below are still to be cut
  // Of snapshots; a node with any of these is stored in format 2, or 3 if it has a group.
  std::int64_t expires_unix_ms = 0;  // 0: never
  bool scheduled = false;            // made by its disk's schedule, which may remove it
  std::vector<std::string> holds{};  // tags that keep it, in order, each once
  NodeGroup group{};
  [[nodiscard]] bool has_policy() const { return expires_unix_ms != 0 || scheduled || !holds.empty(); }
  bool operator==(const NodeValue&) const = default;
};

// The same node without what made it a snapshot.
[[nodiscard]] NodeValue killed(NodeValue node);

// A disk's policies, in a value of version 2; a disk without any is written as it was before there were
// flags. An engine must not write to a disk of which it does not know a flag.
inline constexpr std::uint64_t kDiskStrict = 1;  // no block is overwritten in place
inline constexpr std::uint64_t kKnownDiskFlags = kDiskStrict;

struct DiskValue {
  std::string name;
  NodeId head;
  std::int64_t created_unix_ms = 0;
  std::uint64_t flags = 0;
  [[nodiscard]] bool strict() const { return (flags & kDiskStrict) != 0; }
  bool operator==(const DiskValue&) const = default;
};

// Of a disk that was removed and can still be brought back; its name is free.
struct TrashValue {
  std::int64_t removed_unix_ms = 0;
  bool operator==(const TrashValue&) const = default;
};

// Snapshots of a disk that are taken by themselves, and how many of each kind are kept.
struct ScheduleValue {
  std::uint64_t hourly = 0;
  std::uint64_t daily = 0;
  std::uint64_t weekly = 0;
  std::uint64_t monthly = 0;
  std::int64_t last_unix_ms = 0;  // when the last one was taken; 0: none yet
  bool operator==(const ScheduleValue&) const = default;
};

enum class AttachmentState : std::uint8_t {
  kActive = 1,    // the one that writes
  kIncoming = 2,  // its first write makes it the active one
  kFenced = 3,    // writes no more
};

// A right to write to a disk, which its owner shows by the token.
struct AttachmentValue {
  std::uint64_t epoch = 0;  // from 1 on; later ones of the disk have higher ones
  AttachmentState state = AttachmentState::kFenced;
  Uuid token;
  std::int64_t created_unix_ms = 0;
  std::string label;
  bool operator==(const AttachmentValue&) const = default;
};

// Those of one disk, oldest first; at most one is active. The last epoch stays when they are gone.
struct AttachmentsValue {
  std::uint64_t last_epoch = 0;
  std::vector<AttachmentValue> all;
  bool operator==(const AttachmentsValue&) const = default;
};

// The read-only image that shows through what a tree does not map itself; kept under its root branch.
struct BaseValue {
  std::uint64_t size_bytes = 0;  // of the disk in it, where it is no raw image
  // How it is known again: a file by size, inode and time of change, or by size, time and samples; a block
  // device by size and samples.
  bool is_device = false;
  std::uint64_t inode = 0;
  std::int64_t changed_ns = 0;  // since 1970
  std::uint64_t samples = 0;    // xxh3 of some of its content (FORMAT.md)
  bool flattening = false;      // its content is being copied into the pool
  std::string path;             // absolute
  BaseFormat format = BaseFormat::kRaw;
  bool operator==(const BaseValue&) const = default;
};

// What a disk may take of the pool.
struct QuotaValue {
  std::uint64_t limit_bytes = 0;
  bool operator==(const QuotaValue&) const = default;
};

// What is left of a snapshot whose data was given up: a point that changes are counted from. It was the node
// of this id, and the branch stays as long as the bookmark does.
struct BookmarkValue {
  DiskId disk;
  BranchId branch;
  Epoch epoch;
  std::uint64_t size_bytes = 0;
  std::int64_t created_unix_ms = 0;  // of the snapshot
  std::string name;
  bool operator==(const BookmarkValue&) const = default;
};

// The next free numbers. The epoch counter is above every epoch ever used in a record.
struct CountersValue {
  Epoch next_epoch;
  BranchId next_branch;
  NodeId next_node;
  DiskId next_disk;
  bool operator==(const CountersValue&) const = default;
};

// Up to where the journal is in RocksDB; redo starts behind it.
struct AppliedValue {
  std::uint64_t sequence = 0;     // last batch contained whole
  std::uint64_t batch_hash = 0;   // its header's hash
  std::uint64_t ring_offset = 0;  // bytes into the ring where the next batch stands
  std::uint64_t position = 0;     // of the first record not contained
  bool operator==(const AppliedValue&) const = default;
};

// The epochs whose blocks may be torn in suspect granules, from a power cut until those have been gone
// through.
struct SuspectsValue {
  std::vector<Epoch> epochs;
  bool operator==(const SuspectsValue&) const = default;
};

struct StoreValue {
  Uuid store;
  Uuid metadata;
  bool operator==(const StoreValue&) const = default;
};

std::string branch_key(BranchId id);
std::string node_key(NodeId id);
std::string disk_key(DiskId id);
std::string trash_key(DiskId id);
std::string schedule_key(DiskId id);
std::string attachments_key(DiskId id);
std::string base_key(BranchId root);
std::string bookmark_key(NodeId id);
std::string quota_key(DiskId id);
inline constexpr std::string_view kCountersKey = "counters";
inline constexpr std::string_view kAppliedKey = "applied";
inline constexpr std::string_view kStoreKey = "store";
inline constexpr std::string_view kSuspectsKey = "suspects";
// Which object a key names: "branch/…" → the id, nothing for other keys. `prefix`: "branch" or "branch/".
std::optional<std::uint64_t> id_of_key(std::string_view key, std::string_view prefix);

std::string encode(const BranchValue& value);
std::string encode(const NodeValue& value);
std::string encode(const DiskValue& value);
std::string encode(const TrashValue& value);
std::string encode(const ScheduleValue& value);
std::string encode(const AttachmentsValue& value);
std::string encode(const BaseValue& value);
std::string encode(const BookmarkValue& value);
std::string encode(const QuotaValue& value);
std::string encode(const CountersValue& value);
std::string encode(const AppliedValue& value);
std::string encode(const StoreValue& value);
std::string encode(const SuspectsValue& value);
std::optional<BranchValue> decode_branch(std::string_view value);
std::optional<NodeValue> decode_node(std::string_view value);
std::optional<DiskValue> decode_disk(std::string_view value);
// A disk that can't be decoded because it has a later format, or flags that are not known here.
bool newer_disk(std::string_view value);
bool newer_node(std::string_view value);
std::optional<TrashValue> decode_trash(std::string_view value);
std::optional<ScheduleValue> decode_schedule(std::string_view value);
std::optional<AttachmentsValue> decode_attachments(std::string_view value);
std::optional<BaseValue> decode_base(std::string_view value);
std::optional<BookmarkValue> decode_bookmark(std::string_view value);
std::optional<QuotaValue> decode_quota(std::string_view value);
std::optional<CountersValue> decode_counters(std::string_view value);
std::optional<AppliedValue> decode_applied(std::string_view value);
std::optional<StoreValue> decode_store(std::string_view value);
std::optional<SuspectsValue> decode_suspects(std::string_view value);

}  // namespace coppice
