// Oracle: which values each sector of each disk and snapshot may hold.
//
// Every request has a start and an end on one logical clock. A value may be seen at a moment unless a younger
// write to the sector - one that began after the value's own write had ended - *counts* by then. What counts
// depends on who asks: for a read, what was acknowledged before it began; after a kill, what was
// acknowledged; after a power cut, what was flushed. Snapshots are checked against one point in time for all
// disks of a set, and from the first look on against exactly what was seen. The blocks of a strict disk are
// never torn, besides: their sectors together are what whole writes leave, one behind the other. It outlives
// crashes; nothing in it belongs to a process.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "content.h"
#include "coppice/store.h"

namespace coppice::sim {

using Tick = std::uint64_t;
inline constexpr Tick kNever = UINT64_MAX;

struct Write {
  std::uint64_t first = 0;  // sectors
  std::uint64_t count = 0;
  Tick start = 0;
  Tick end = kNever;     // acknowledged, or failed
  bool ok = false;       // acknowledged
  bool durable = false;  // by itself: FUA, or what a recovery brought
  [[nodiscard]] bool covers(std::uint64_t sector) const { return sector >= first && sector - first < count; }
};
struct Version {
  Value value = 0;
  const Write* write = nullptr;
};
using History = std::vector<Version>;

// Snapshots taken together: no value of one may be older than what was acknowledged before a value of another
// was even issued.
struct SnapshotSet {
  Tick point = 0;  // at or before the moment of the snapshot, as far as is known
};

struct SnapshotModel {
  std::uint64_t size_bytes = 0;
  bool exact = false;
  Tick strict_since = kNever;        // of its disk, when it was taken
  std::vector<Value> values;         // if exact
  std::vector<History> candidates;   // else
  std::shared_ptr<SnapshotSet> set;  // else
  std::set<std::string> holds;
  std::int64_t expires_ms = 0;
  std::int64_t scheduled_ms = 0;  // when a schedule took it; 0: none did
};

struct DiskModel {
  std::string name;
  std::uint64_t size_bytes = 0;
  std::uint64_t head = 0;  // its node, which tells a rollback that happened from one that didn't
  std::vector<History> sectors;
  Tick strict_since = kNever;  // kNever: it is not
  Tick flushed_to = 0;         // writes that ended before are durable
  std::uint64_t watchers = 0;  // reads and verbs under way, which may see what is replaced meanwhile
  std::map<std::string, SnapshotModel> snapshots;
  std::uint64_t last_epoch = 0;    // of an attachment that was acknowledged
  std::uint64_t writer_epoch = 0;  // … of the last one of which a write was: older ones are fenced for good
  std::map<std::string, SnapshotModel> bookmarks;  // what snapshots held whose data was given up; exact
  std::int64_t removed_ms = 0;                     // in the trash: since when
  std::uint64_t quota_bytes = 0;                   // 0: none
  std::optional<std::uint64_t> quota_over;         // what it had when that was last looked at …
  std::uint64_t quota_nodes = 0;                   // … and how many nodes there had been
  Schedule schedule;
  std::int64_t scheduled_last_ms = 0;
  std::int64_t scheduled_perhaps_ms = 0;  // or this: a crash came between the snapshot and the answer
  [[nodiscard]] bool held() const {
    return std::ranges::any_of(snapshots, [](const auto& entry) { return !entry.second.holds.empty(); });
  }
};

// kFailedSync: a kill behind a sync that failed. As much may be lost as in a power cut, and what is seen
// afterwards is not durable yet. kNone: nothing happened; all that was acknowledged is there, durable or not.
enum class Moment : std::uint8_t { kKill, kPower, kFailedSync, kNone };

class Oracle {
 public:
  Tick now() { return ++clock_; }
  std::map<std::string, std::unique_ptr<DiskModel>> disks;
  std::map<std::string, std::unique_ptr<DiskModel>> trash;
  // All that was written is durable with the record that says where the disk is.
  void to_trash(const std::string& name, std::int64_t removed_ms);
  DiskModel& from_trash(const std::string& name, const std::string& new_name);

  DiskModel& add_disk(const std::string& name, std::uint64_t size_bytes, bool strict, bool over_base = false);
  DiskModel& add_disk_like(const std::string& name, const SnapshotModel& from, bool strict);
  void resize(DiskModel& disk, std::uint64_t size_bytes);
  // Each sector of the range gets a value; `values` is empty for zeroes.
  Write* begin_write(DiskModel& disk, std::uint64_t first, std::uint64_t count, std::span<const Value> values,
                     bool force_unit_access);
  void end_write(DiskModel& disk, Write& write, std::uint64_t first, std::uint64_t count, bool ok);
  Value new_value() { return ++values_; }
  // Who wrote a value, for complaints.
  [[nodiscard]] std::string origin(std::optional<Value> value) const;

  // What a read that began at `start` returned. A complaint, or nothing.
  std::optional<std::string> check_read(const DiskModel& disk, std::uint64_t first,
                                        std::span<const std::byte> bytes, Tick start);
  // What stands there after a crash; the model becomes exactly that.
  std::optional<std::string> check_recovered(DiskModel& disk, std::span<const SectorContent> content,
                                             Moment moment);
  // All of a snapshot. The first time it may hold whatever fits its moment.
  std::optional<std::string> check_snapshot(const std::string& name, SnapshotModel& snapshot,
                                            std::span<const SectorContent> content);
  // The heads' histories as the content of snapshots that are being taken (begun at `start`).
  SnapshotModel capture(const DiskModel& disk, std::shared_ptr<SnapshotSet> set) const;
  // Behind a power cut: what was freed and not flushed is taken again, so a disk over its quota may have more
  // than was seen last.
  void forget_frees();
  // The head goes back to what the snapshot held.
  void restore(DiskModel& disk, const SnapshotModel& from);

 private:
  void prune(const DiskModel& disk, History& history) const;
  const Write* base(std::uint64_t first, std::uint64_t count);

  std::deque<Write> writes_;
  Tick clock_ = 0;
  Value values_ = kBaseSectors;
  struct Origin {
    Value first = 0;  // of a write's values
    std::string disk;
    std::uint64_t sector = 0;
    std::uint64_t count = 0;
    const Write* write = nullptr;
  };
  std::vector<Origin> origins_;
};

}  // namespace coppice::sim
