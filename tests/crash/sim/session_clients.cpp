// The clients of a session: several per disk, each with one request at a time, overlapping with the others'
// at will.
#include <fmt/format.h>

#include <algorithm>

#include "coppice/aligned_buffer.h"
#include "session.h"

namespace coppice::sim {

namespace {

struct Range {
  std::uint64_t first = 0;  // sectors
  std::uint64_t count = 0;
  [[nodiscard]] std::uint64_t offset_bytes() const { return first * kSectorBytes; }
  [[nodiscard]] std::uint64_t bytes() const { return count * kSectorBytes; }
};

// Mostly single blocks, mostly where others write too; sometimes long, sometimes odd.
Range random_range(Rng& rng, std::uint64_t size_bytes) {
  const std::uint64_t sectors = size_bytes / kSectorBytes;
  const std::uint64_t hot = rng.percent(60) ? std::min<std::uint64_t>(sectors, 12 * 8) : sectors;
  Range range;
  if (rng.percent(20)) {
    range.first = rng.below(hot);
    range.count = rng.between(1, 24);
  } else {
    range.first = round_down(rng.below(hot), 8);
    range.count = 8 * (rng.percent(60) ? 1 : rng.once_in(8) ? rng.between(1, 80) : rng.between(1, 8));
  }
  range.count = std::min(range.count, sectors - range.first);
  return range;
}

}  // namespace

void Session::refuse_error(const std::string& what, const Error& error) {
  if (error.kind == ErrorKind::kNoSpace) return;
  if (shared_.damage_allowed && shared_.machine.disk.faults.fired && error.kind == ErrorKind::kIo) return;
  shared_.violate(fmt::format("{} failed: {} ({})", what, error.text, process_.notices));
}

Task<void> Session::open_disk(std::string name) {
  auto& place = open_[name];
  if (!place) place = std::make_unique<OpenDisk>();
  OpenDisk& disk = *place;
  disk.name = name;
  auto device = co_await process_.store->open_device({name, ""}, Access::kReadWrite, {"client"});
  if (!device) {
    // Behind a failed verb memory is ahead of what is durable: the disk may be gone from it.
    if (!fault()) shared_.violate("disk " + name + " can't be opened: " + device.error().message);
    co_return;
  }
  // Nobody writes to it yet.
  const auto model = shared_.oracle.disks.find(name);
  if (model != shared_.oracle.disks.end()) co_await check_quota(*model->second);
  disk.device = std::move(*device);
  disk.paused = false;
}

void Session::start_clients(const std::string& name) {
  auto& place = open_[name];
  if (!place) place = std::make_unique<OpenDisk>();
  place->name = name;
  place->paused = true;  // until it is open
  ++tasks_;
  spawn([](Session& session, std::string disk) -> Task<void> {
    co_await session.open_disk(disk);
    --session.tasks_;
  }(*this, name));
  const std::uint64_t clients = shared_.rng.between(1, 4);
  for (std::uint64_t i = 0; i < clients; ++i) {
    ++tasks_;
    spawn(client(name, shared_.rng.next()));
  }
}

Task<void> Session::client(std::string name, std::uint64_t seed) {
  Rng rng(seed);
  const std::uint64_t quiet = shared_.machine.shape.quiet ? 12000 : 0;
  const std::uint64_t think = quiet != 0 ? quiet : rng.once_in(3) ? rng.between(1, 1000) : 0;
  // A disk that may take nothing, and holds nothing, answers at once: others would never have their turn.
  constexpr unsigned kMostAtOnce = 100;
  unsigned at_once = 0;
  while (!stopping_ && shared_.violation.empty()) {
    auto disk = shared_.oracle.disks.find(name);
    if (disk == shared_.oracle.disks.end()) break;
    OpenDisk& open = *open_[name];
    if (open.paused || !open.device) {
      co_await sleep_for(process_.scheduler, std::chrono::microseconds(200));
      continue;
    }
    ++open.users;
    ++shared_.operations;
    const std::uint64_t step = process_.scheduler.steps();
    co_await one_operation(*disk->second, *open.device, rng);
    --open.users;
    at_once = process_.scheduler.steps() == step ? at_once + 1 : 0;
    if (at_once >= kMostAtOnce) co_await sleep_for(process_.scheduler, std::chrono::microseconds(1));
    if (think != 0) co_await sleep_for(process_.scheduler, std::chrono::microseconds(rng.between(1, think)));
  }
  --tasks_;
}

Task<void> Session::one_operation(DiskModel& disk, BlockDevice& device, Rng& rng) {
  const std::uint64_t choice = rng.below(100);
  const std::uint64_t id = ++requests_;
  std::string& what = under_way_[id];
  if (choice < 60) {
    what = "a write to " + disk.name;
    co_await do_write(disk, device, rng);
  } else if (choice < 76) {
    what = "a read of " + disk.name;
    co_await do_read(disk, device, rng);
  } else if (choice < 90) {
    what = "a flush of " + disk.name;
    co_await do_flush(disk, device);
  } else {
    what = "zeroing on " + disk.name;
    co_await do_zero(disk, device, rng);
  }
  under_way_.erase(id);
}

Task<void> Session::do_write(DiskModel& disk, BlockDevice& device, Rng& rng) {
  const Range range = random_range(rng, disk.size_bytes);
  const bool unit_access = rng.percent(12);
  co_await write_range(disk, device, range.first, range.count, unit_access);
}

Task<void> Session::write_range(DiskModel& disk, BlockDevice& device, std::uint64_t first,
                                std::uint64_t count, bool force_unit_access) {
  const Range range{first, count};
  std::vector<Value> values(range.count);
  AlignedBuffer data(range.bytes());
  for (std::uint64_t i = 0; i < range.count; ++i) {
    values[i] = shared_.oracle.new_value();
    fill_sector(data.span().subspan(i * kSectorBytes, kSectorBytes), values[i]);
  }
  const WriteFlags flags{.force_unit_access = force_unit_access};
  Write* write = shared_.oracle.begin_write(disk, range.first, range.count, values, flags.force_unit_access);
  const std::span<const std::byte> bytes = data.first(range.bytes());
  auto written = co_await device.write(range.offset_bytes(), bytes, flags);
  shared_.oracle.end_write(disk, *write, range.first, range.count, written.has_value());
  if (!written) refuse_error("a write", written.error());
}

Task<void> Session::do_zero(DiskModel& disk, BlockDevice& device, Rng& rng) {
  const Range range = random_range(rng, disk.size_bytes);
  const bool unit_access = rng.percent(12);
  const std::uint64_t choice = rng.below(3);
  Write* write = shared_.oracle.begin_write(disk, range.first, range.count, {}, unit_access);
  Result<> done;
  if (choice == 0) {
    const WriteFlags flags{unit_access};
    done = co_await device.discard(range.offset_bytes(), range.bytes(), flags);
  } else {
    const ZeroFlags flags{.force_unit_access = unit_access, .no_hole = choice == 1};
    done = co_await device.write_zeroes(range.offset_bytes(), range.bytes(), flags);
  }
  shared_.oracle.end_write(disk, *write, range.first, range.count, done.has_value());
  if (!done) refuse_error("zeroing", done.error());
}

// A hole.
Task<void> Session::zero_range(DiskModel& disk, BlockDevice& device, std::uint64_t first,
                               std::uint64_t count) {
  Write* write = shared_.oracle.begin_write(disk, first, count, {}, false);
  const WriteFlags flags;
  auto done = co_await device.discard(first * kSectorBytes, count * kSectorBytes, flags);
  shared_.oracle.end_write(disk, *write, first, count, done.has_value());
  if (!done) refuse_error("a discard", done.error());
}

Task<void> Session::do_read(DiskModel& disk, BlockDevice& device, Rng& rng) {
  const Range range = random_range(rng, disk.size_bytes);
  co_await read_range(disk, device, range.first, range.count);
}

Task<void> Session::read_range(DiskModel& disk, BlockDevice& device, std::uint64_t first,
                               std::uint64_t count) {
  const Range range{first, count};
  AlignedBuffer data(range.bytes());
  const Tick start = shared_.oracle.now();
  const std::span<std::byte> into = data.first(range.bytes());
  // What a read may see is judged with all that was written until it ends.
  ++disk.watchers;
  auto read = co_await device.read(range.offset_bytes(), into);
  --disk.watchers;
  if (!read) {
    refuse_error(fmt::format("a read of {} at sector {}", disk.name, range.first), read.error());
    co_return;
  }
  if (auto wrong = shared_.oracle.check_read(disk, range.first, into, start)) shared_.violate(*wrong);
}

Task<void> Session::do_flush(DiskModel& disk, BlockDevice& device) {
  const Tick start = shared_.oracle.now();
  auto flushed = co_await device.flush();
  if (flushed) {
    disk.flushed_to = std::max(disk.flushed_to, start);
  } else {
    refuse_error("a flush", flushed.error());
  }
}

Task<void> Session::pause(std::string name) {
  OpenDisk& disk = *open_[name];
  disk.paused = true;
  while (disk.users != 0) co_await sleep_for(process_.scheduler, std::chrono::microseconds(50));
  disk.device.reset();
}

Task<void> Session::resume(std::string name) {
  co_await open_disk(std::move(name));
}

Task<void> Session::stop_clients() {
  stopping_ = true;
  while (tasks_ != 0) co_await sleep_for(process_.scheduler, std::chrono::microseconds(100));
  for (auto& [name, disk] : open_) disk->device.reset();
}

}  // namespace coppice::sim
