#include "oracle.h"

#include <fmt/format.h>

#include <algorithm>

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

// The version of `value` that may be seen, if any.
template <class Counts>
const Version* find_legal(const History& history, Value value, Tick before, Counts counts) {
  for (const Version& each : history) {
    if (each.value == value && each.write->start < before && !replaced(history, *each.write, counts))
      return &each;
  }
  return nullptr;
}

std::string complaint(const std::string& where, std::uint64_t sector, std::optional<Value> value,
                      const History& history) {
  return fmt::format("{} sector {} holds {}; it may hold{}", where, sector,
                     value ? std::to_string(*value) : "garbage", show(history));
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

const Write* Oracle::base() {
  const Tick tick = now();
  writes_.push_back({tick, tick, true, true});
  return &writes_.back();
}

DiskModel& Oracle::add_disk(const std::string& name, std::uint64_t size_bytes) {
  auto disk = std::make_unique<DiskModel>();
  disk->name = name;
  disk->size_bytes = size_bytes;
  disk->sectors.assign(size_bytes / kSectorBytes, History{{0, base()}});
  return *(disks[name] = std::move(disk));
}

DiskModel& Oracle::add_disk_like(const std::string& name, const SnapshotModel& from) {
  DiskModel& disk = add_disk(name, from.size_bytes);
  restore(disk, from);
  return disk;
}

void Oracle::restore(DiskModel& disk, const SnapshotModel& from) {
  disk.size_bytes = from.size_bytes;
  disk.sectors.clear();
  const Write* write = base();
  for (const Value value : from.values) disk.sectors.push_back({{value, write}});
}

void Oracle::resize(DiskModel& disk, std::uint64_t size_bytes) {
  disk.size_bytes = size_bytes;
  disk.sectors.resize(size_bytes / kSectorBytes, History{{0, base()}});
}

Write* Oracle::begin_write(DiskModel& disk, std::uint64_t first, std::uint64_t count,
                           std::span<const Value> values, bool force_unit_access) {
  writes_.push_back({now(), kNever, false, force_unit_access});
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
  for (std::uint64_t i = 0; i < bytes.size() / kSectorBytes; ++i) {
    const History& history = disk.sectors[first + i];
    const auto value = sector_value(sector_of(bytes, i));
    const auto counts = [&](const Write& other) { return other.ok && other.end < start; };
    if (!value || find_legal(history, *value, kNever, counts) == nullptr)
      return complaint(fmt::format("read of {} at {}:", disk.name, start), first + i, value, history) +
             origin(value);
  }
  return std::nullopt;
}

std::optional<std::string> Oracle::check_recovered(DiskModel& disk, std::span<const std::byte> bytes,
                                                   Moment moment) {
  const bool durable = moment != Moment::kFailedSync;
  const Tick tick = now();
  writes_.push_back({tick, tick, true, durable});
  const Write* write = &writes_.back();
  for (std::uint64_t i = 0; i < disk.sectors.size(); ++i) {
    History& history = disk.sectors[i];
    const auto value = sector_value(sector_of(bytes, i));
    const auto counts = [&](const Write& other) {
      return moment == Moment::kKill ? other.ok : flushed(disk, other);
    };
    if (!value || find_legal(history, *value, kNever, counts) == nullptr) {
      return complaint(fmt::format("after a {}, {} (flushed to {}):",
                                   moment == Moment::kKill ? "kill" : "power cut or a failed sync", disk.name,
                                   disk.flushed_to),
                       i, value, history) +
             origin(value);
    }
    if (durable) {
      history = {{*value, write}};
    } else {
      prune(disk, history);
      history.push_back({*value, write});
    }
  }
  return std::nullopt;
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
  snapshot.candidates = disk.sectors;
  snapshot.set = std::move(set);
  return snapshot;
}

std::optional<std::string> Oracle::check_snapshot(const std::string& name, SnapshotModel& snapshot,
                                                  std::span<const std::byte> bytes) {
  std::vector<Value> values;
  const std::uint64_t sectors = snapshot.size_bytes / kSectorBytes;
  for (std::uint64_t i = 0; i < sectors; ++i) {
    const auto value = sector_value(sector_of(bytes, i));
    if (!value || (snapshot.exact && *value != snapshot.values[i])) {
      return fmt::format("snapshot {} sector {} holds {}, not {}", name, i,
                         value ? std::to_string(*value) : "garbage",
                         snapshot.exact ? std::to_string(snapshot.values[i]) : "anything written");
    }
    values.push_back(*value);
  }
  if (snapshot.exact) return std::nullopt;
  // Twice: what is seen moves the point in time, and that may rule out what was seen before.
  for (int round = 0; round < 2; ++round) {
    for (std::uint64_t i = 0; i < sectors; ++i) {
      const History& history = snapshot.candidates[i];
      const Tick point = snapshot.set->point;
      const auto counts = [&](const Write& other) { return other.ok && other.end < point; };
      const Version* seen = find_legal(history, values[i], kNever, counts);
      if (seen == nullptr)
        return complaint(fmt::format("snapshot {} of point {}:", name, point), i, values[i], history) +
               origin(values[i]);
      // Zeroes written by different requests can't be told apart.
      if (values[i] != 0) snapshot.set->point = std::max(point, seen->write->start);
    }
  }
  snapshot.exact = true;
  snapshot.values = std::move(values);
  return std::nullopt;
}

}  // namespace coppice::sim
