#include "oracle.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim_disk.h"

namespace coppice::sim {

namespace {

constexpr std::size_t kPruneAbove = 6;

bool flushed(const DiskModel& disk, const Write& write) {
  return write.ok && (write.durable || write.end < disk.flushed_to);
}

// Whether a younger write that counts has replaced it.
template <class Counts>
bool replaced(const History& history, const Write& write, Counts counts) {
  return std::any_of(history.begin(), history.end(), [&](const Version& other) {
    return other.write->start > write.end && counts(*other.write);
  });
}

std::string show(const History& history) {
  std::string text;
  for (const Version& each : history) {
    const std::string end = each.write->end == kNever ? "…" : std::to_string(each.write->end);
    text += fmt::format(" {}[{},{}{}{}]", each.value, each.write->start, end,
                        each.write->ok ? "" : " unacknowledged", each.write->durable ? " durable" : "");
  }
  return text;
}

// Whether a block can hold `a` in one sector and `b` in another when every write to it is whole: each must
// not have replaced the other, in whichever order they came.
bool fit_together(std::uint64_t sector_a, const Write& a, std::uint64_t sector_b, const Write& b) {
  if (&a == &b) return true;
  const bool b_first = b.covers(sector_a);
  const bool a_first = a.covers(sector_b);
  return !(a_first && b_first) && !(b_first && a.end < b.start) && !(a_first && b.end < a.start);
}

const char* text_of(Moment moment) {
  switch (moment) {
    case Moment::kKill:
      return "a kill";
    case Moment::kPower:
      return "a power cut";
    case Moment::kFailedSync:
      return "a failed sync";
    case Moment::kNone:
      return "all that was done";
  }
  return "";
}

std::string complaint(const std::string& where, std::uint64_t sector, std::optional<Value> value,
                      const History& history) {
  return fmt::format("{} sector {} holds {}; it may hold{}", where, sector,
                     value ? std::to_string(*value) : "garbage", show(history));
}

template <class Counts>
bool is_legal(const History& history, const Version& version, Value value, Counts counts) {
  return version.value == value && !replaced(history, *version.write, counts);
}

// What may be seen of each sector of a range, where it matters which write it is of.
struct Seen {
  std::uint64_t first = 0;
  Tick strict_since = kNever;
  std::vector<std::vector<const Version*>> versions;
};

template <class Counts>
const Version* first_legal(const History& history, Value value, Counts counts) {
  const auto found = std::ranges::find_if(
      history, [&](const Version& each) { return is_legal(history, each, value, counts); });
  return found == history.end() ? nullptr : &*found;
}

template <class Counts>
std::vector<const Version*> all_legal(const History& history, Value value, Counts counts) {
  std::vector<const Version*> found;
  for (const Version& each : history)
    if (is_legal(history, each, value, counts)) found.push_back(&each);
  return found;
}

// Two sectors of a block of which one write can't have left both, or nothing. What was written before the
// disk became strict may be torn.
std::optional<std::string> torn(const std::string& where, const Seen& seen) {
  const auto together = [&](std::uint64_t i, std::uint64_t j) {
    for (const Version* a : seen.versions[i]) {
      for (const Version* b : seen.versions[j]) {
        if (std::max(a->write->start, b->write->start) < seen.strict_since ||
            fit_together(seen.first + i, *a->write, seen.first + j, *b->write))
          return true;
      }
    }
    return false;
  };
  for (std::uint64_t i = 0; i < seen.versions.size(); ++i) {
    const std::uint64_t end = round_up(seen.first + i + 1, kSectorsPerBlock) - seen.first;
    for (std::uint64_t j = i + 1; j < std::min<std::uint64_t>(end, seen.versions.size()); ++j) {
      if (together(i, j)) continue;
      return fmt::format("{} the block of sectors {} ({}) and {} ({}) is torn on a strict disk", where,
                         seen.first + i, seen.versions[i].front()->value, seen.first + j,
                         seen.versions[j].front()->value);
    }
  }
  return std::nullopt;
}

}  // namespace

std::string Oracle::origin(std::optional<Value> value) const {
  if (!value) return "";
  for (const Origin& each : origins_) {
    if (*value < each.first || *value - each.first >= each.count) continue;
    return fmt::format(" (written to {} sector {} [{},{}{}])", each.disk, each.sector + (*value - each.first),
                       each.write->start, each.write->end, each.write->ok ? "" : " unacknowledged");
  }
  return "";
}

namespace {

std::span<const std::byte> sector_of(std::span<const std::byte> bytes, std::uint64_t sector) {
  return bytes.subspan(sector * kSectorBytes, kSectorBytes);
}

}  // namespace

const Write* Oracle::base(std::uint64_t first, std::uint64_t count) {
  const Tick tick = now();
  writes_.push_back({first, count, tick, tick, true, true});
  return &writes_.back();
}

DiskModel& Oracle::add_disk(const std::string& name, std::uint64_t size_bytes, bool strict, bool over_base) {
  auto disk = std::make_unique<DiskModel>();
  disk->name = name;
  disk->size_bytes = size_bytes;
  const std::uint64_t sectors = size_bytes / kSectorBytes;
  disk->sectors.assign(sectors, History{{0, base(0, sectors)}});
  for (std::uint64_t i = 0; i < sectors && over_base; ++i) disk->sectors[i].front().value = base_value(i);
  if (strict) disk->strict_since = 0;
  return *(disks[name] = std::move(disk));
}

DiskModel& Oracle::add_disk_like(const std::string& name, const SnapshotModel& from, bool strict) {
  DiskModel& disk = add_disk(name, from.size_bytes, strict);
  restore(disk, from);
  return disk;
}

void Oracle::restore(DiskModel& disk, const SnapshotModel& from) {
  disk.size_bytes = from.size_bytes;
  disk.sectors.clear();
  const Write* write = base(0, from.values.size());
  for (const Value value : from.values) disk.sectors.push_back({{value, write}});
}

void Oracle::resize(DiskModel& disk, std::uint64_t size_bytes) {
  disk.size_bytes = size_bytes;
  const std::uint64_t before = disk.sectors.size();
  const std::uint64_t sectors = size_bytes / kSectorBytes;
  disk.sectors.resize(sectors, History{{0, base(before, sectors - std::min(before, sectors))}});
}

Write* Oracle::begin_write(DiskModel& disk, std::uint64_t first, std::uint64_t count,
                           std::span<const Value> values, bool force_unit_access) {
  writes_.push_back({first, count, now(), kNever, false, force_unit_access});
  Write* write = &writes_.back();
  if (!values.empty()) origins_.push_back({values[0], disk.name, first, count, write});
  for (std::uint64_t i = 0; i < count; ++i) {
    History& history = disk.sectors[first + i];
    history.push_back({values.empty() ? 0 : values[i], write});
    if (history.size() > kPruneAbove && disk.watchers == 0) prune(disk, history);
  }
  return write;
}

void Oracle::end_write(DiskModel&, Write& write, std::uint64_t, std::uint64_t, bool ok) {
  write.end = now();
  write.ok = ok;
}

// What a flushed write has replaced can't be seen by anyone any more.
void Oracle::prune(const DiskModel& disk, History& history) const {
  std::erase_if(history, [&](const Version& each) {
    return replaced(history, *each.write, [&](const Write& other) { return flushed(disk, other); });
  });
}

std::optional<std::string> Oracle::check_read(const DiskModel& disk, std::uint64_t first,
                                              std::span<const std::byte> bytes, Tick start) {
  const std::string where = fmt::format("read of {} at {}:", disk.name, start);
  Seen seen{first, disk.strict_since, {}};
  for (std::uint64_t i = 0; i < bytes.size() / kSectorBytes; ++i) {
    const History& history = disk.sectors[first + i];
    const auto value = sector_value(sector_of(bytes, i));
    const auto counts = [&](const Write& other) { return other.ok && other.end < start; };
    if (!value || first_legal(history, *value, counts) == nullptr)
      return complaint(where, first + i, value, history) + origin(value);
    if (disk.strict_since != kNever) seen.versions.push_back(all_legal(history, *value, counts));
  }
  if (disk.strict_since == kNever) return std::nullopt;
  return torn(where, seen);
}

std::optional<std::string> Oracle::check_recovered(DiskModel& disk, std::span<const SectorContent> content,
                                                   Moment moment) {
  const bool durable = moment == Moment::kKill || moment == Moment::kPower;
  const Tick tick = now();
  writes_.push_back({0, disk.sectors.size(), tick, tick, true, durable});
  const Write* write = &writes_.back();
  const std::string where =
      fmt::format("after {}, {} (flushed to {}):", text_of(moment), disk.name, disk.flushed_to);
  Seen seen{0, disk.strict_since, {}};
  for (std::uint64_t i = 0; i < disk.sectors.size(); ++i) {
    const History& history = disk.sectors[i];
    const SectorContent value = content[i];
    const auto counts = [&](const Write& other) {
      return moment == Moment::kKill || moment == Moment::kNone ? other.ok : flushed(disk, other);
    };
    if (!value || first_legal(history, *value, counts) == nullptr)
      return complaint(where, i, value, history) + origin(value);
    if (disk.strict_since != kNever) seen.versions.push_back(all_legal(history, *value, counts));
  }
  if (disk.strict_since != kNever) {
    if (auto wrong = torn(where, seen)) return wrong;
  }
  for (std::uint64_t i = 0; i < disk.sectors.size(); ++i) {
    History& history = disk.sectors[i];
    if (durable) {
      history = {{*content[i], write}};
    } else {
      prune(disk, history);
      history.push_back({*content[i], write});
    }
  }
  return std::nullopt;
}

void Oracle::forget_frees() {
  for (auto* each : {&disks, &trash})
    for (auto& [name, disk] : *each)
      if (disk->quota_over > disk->quota_bytes) disk->quota_over.reset();
}

void Oracle::to_trash(const std::string& name, std::int64_t removed_ms) {
  auto& place = trash[name];
  place = std::move(disks.extract(name).mapped());
  place->flushed_to = now();
  place->removed_ms = removed_ms;
}

DiskModel& Oracle::from_trash(const std::string& name, const std::string& new_name) {
  auto& place = disks[new_name];
  place = std::move(trash.extract(name).mapped());
  place->name = new_name;
  return *place;
}

SnapshotModel Oracle::capture(const DiskModel& disk, std::shared_ptr<SnapshotSet> set) const {
  SnapshotModel snapshot;
  snapshot.size_bytes = disk.size_bytes;
  snapshot.strict_since = disk.strict_since;
  snapshot.candidates = disk.sectors;
  snapshot.set = std::move(set);
  return snapshot;
}

std::optional<std::string> Oracle::check_snapshot(const std::string& name, SnapshotModel& snapshot,
                                                  std::span<const SectorContent> content) {
  std::vector<Value> values;
  const std::uint64_t sectors = snapshot.size_bytes / kSectorBytes;
  for (std::uint64_t i = 0; i < sectors; ++i) {
    const SectorContent value = content[i];
    if (!value || (snapshot.exact && *value != snapshot.values[i])) {
      return fmt::format("snapshot {} sector {} holds {}, not {}", name, i,
                         value ? std::to_string(*value) : "garbage",
                         snapshot.exact ? std::to_string(snapshot.values[i]) : "anything written");
    }
    values.push_back(*value);
  }
  if (snapshot.exact) return std::nullopt;
  const std::string where = fmt::format("snapshot {} of point {}:", name, snapshot.set->point);
  Seen may{0, snapshot.strict_since, {}};
  // Twice: what is seen moves the point in time, and that may rule out what was seen before.
  for (int round = 0; round < 2; ++round) {
    may.versions.clear();
    for (std::uint64_t i = 0; i < sectors; ++i) {
      const History& history = snapshot.candidates[i];
      const Tick point = snapshot.set->point;
      const auto counts = [&](const Write& other) { return other.ok && other.end < point; };
      const Version* seen = first_legal(history, values[i], counts);
      if (seen == nullptr) return complaint(where, i, values[i], history) + origin(values[i]);
      if (snapshot.strict_since != kNever) may.versions.push_back(all_legal(history, values[i], counts));
      // Zeroes written by different requests can't be told apart.
      if (values[i] != 0) snapshot.set->point = std::max(point, seen->write->start);
    }
  }
  if (snapshot.strict_since != kNever) {
    if (auto wrong = torn(where, may)) return wrong;
  }
  snapshot.exact = true;
  snapshot.values = std::move(values);
  return std::nullopt;
}

}  // namespace coppice::sim
