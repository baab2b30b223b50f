#include "sim_disk.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "layout/superblock.h"

namespace coppice::sim {

namespace {

void copy_sectors(BlockBytes& to, const BlockBytes& from, std::uint8_t sectors) {
  if (sectors == 0xff) {
    to = from;
    return;
  }
  for (unsigned i = 0; i < kSectorsPerBlock; ++i)
    if (sectors >> i & 1) std::memcpy(&to[i * kSectorBytes], &from[i * kSectorBytes], kSectorBytes);
}

}  // namespace

SimFile* SimDisk::find(const std::string& path) {
  for (auto& file : files_)
    if (file->path() == path) return file.get();
  return nullptr;
}

SimFile::Block& SimFile::block(std::uint64_t index) {
  if (index >= blocks_.size()) blocks_.resize(index + 1);
  if (!blocks_[index]) blocks_[index] = std::make_unique<Block>();
  return *blocks_[index];
}

void SimFile::store(std::uint64_t offset_bytes, std::span<const std::byte> bytes) {
  for (std::uint64_t done = 0; done < bytes.size(); done += kBlockBytes) {
    Block& to = block((offset_bytes + done) / kBlockBytes);
    std::memcpy(to.visible.data(), bytes.data() + done, kBlockBytes);
    to.durable = to.visible;
  }
}

bool SimFile::rot(std::uint64_t offset_bytes, Rng& rng) {
  const std::uint64_t index = offset_bytes / kBlockBytes;
  if (index >= blocks_.size() || !blocks_[index] || !blocks_[index]->versions.empty()) return false;
  Block& at = *blocks_[index];
  at.visible[rng.below(kBlockBytes)] ^= std::byte{0x40};
  at.durable = at.visible;
  return true;
}

// What completed before the sync was submitted is durable; of a sector only its youngest such version.
void SimFile::synced(std::uint64_t barrier, bool failed) {
  for (auto at = unsynced_.begin(); at != unsynced_.end();) {
    Block& each = *blocks_[*at];
    for (auto& version : each.versions) {
      if (version->completed == 0 || version->completed > barrier || version->lost) continue;
      if (failed) {
        version->lost = true;
        continue;
      }
      copy_sectors(each.durable, version->bytes, version->sectors);
      for (auto& older : each.versions) {
        if (older == version) break;
        older->sectors &= static_cast<std::uint8_t>(~version->sectors);
      }
      version->sectors = 0;
    }
    std::erase_if(each.versions, [](const auto& version) { return version->sectors == 0; });
    at = each.versions.empty() ? unsynced_.erase(at) : std::next(at);
  }
}

bool SimFile::superblock_waits() const {
  return std::ranges::any_of(kSuperblockOffsets, [this](std::uint64_t offset_bytes) {
    const std::uint64_t index = offset_bytes / kBlockBytes;
    return unsynced_.contains(index) &&
           std::ranges::any_of(blocks_[index]->versions, [](const auto& each) { return !each->lost; });
  });
}

void SimFile::power_cut(Rng& rng) {
  // Some cuts lose nearly everything or nearly nothing; most are a mixture.
  const std::uint64_t chance = rng.once_in(3) ? (rng.once_in(2) ? 3 : 97) : rng.between(10, 90);
  for (const std::uint64_t index : unsynced_) {
    Block& each = *blocks_[index];
    const bool whole_block = rng.once_in(2);
    std::uint8_t wanted = rng.percent(chance) ? 0xff : 0;
    for (auto& version : each.versions) {
      if (!whole_block) {
        wanted = 0;
        for (unsigned i = 0; i < kSectorsPerBlock; ++i)
          if (rng.percent(chance)) wanted |= static_cast<std::uint8_t>(1u << i);
      }
      copy_sectors(each.durable, version->bytes, version->sectors & wanted);
    }
    each.versions.clear();
    each.visible = each.durable;
  }
  unsynced_.clear();
  if (rng.once_in(2)) size_ = durable_size_;
  durable_size_ = size_;
}

void SimFile::kill(Rng& rng) {
  const std::uint64_t chance = rng.between(0, 100);
  for (const std::uint64_t index : unsynced_) {
    Block& each = *blocks_[index];
    for (auto& version : each.versions) {
      if (version->completed != 0) continue;
      const bool whole_block = rng.once_in(2);
      std::uint8_t landed = whole_block && rng.percent(chance) ? 0xff : 0;
      for (unsigned i = 0; i < kSectorsPerBlock && !whole_block; ++i)
        if (rng.percent(chance)) landed |= static_cast<std::uint8_t>(1u << i);
      version->completed = ++completions_;
      // What was visible of it already stays.
      for (unsigned i = 0; i < kSectorsPerBlock; ++i) {
        const std::size_t at = i * kSectorBytes;
        if (std::memcmp(&each.visible[at], &version->bytes[at], kSectorBytes) == 0)
          landed |= static_cast<std::uint8_t>(1u << i);
      }
      version->sectors &= landed;
      copy_sectors(each.visible, version->bytes, version->sectors);
    }
  }
}

std::chrono::nanoseconds SimBlockFile::latency() {
  // A few are stuck for as long as checkpoints take.
  const std::uint64_t slow = rng_.once_in(12) ? (rng_.once_in(30) ? 100 : 10) : 1;
  return std::chrono::microseconds(rng_.between(5, 150) * slow);
}

bool SimBlockFile::fails(IoRequest::Kind kind) {
  Faults& faults = disk_.faults;
  const bool sync = kind == IoRequest::Kind::kSync;
  if (sync && faults.of_superblocks && !file_.superblock_waits()) return false;
  std::uint64_t& left = sync ? faults.fail_sync_in : faults.fail_io_in;
  if (left == 0 || --left != 0) return false;
  faults.fired = true;
  faults.what = sync ? "(sync failed)" : kind == IoRequest::Kind::kRead ? "(read failed)" : "(write failed)";
  return true;
}

void SimBlockFile::finish(IoRequest& request, int error) {
  request.error = error;
  if (request.kind != IoRequest::Kind::kRead && request.kind != IoRequest::Kind::kSync) written_ = true;
  if (request.kind == IoRequest::Kind::kSync) {
    --syncs_in_flight_;
    --disk_.syncs_under_way;
    if (error != 0) note_failed_sync(request);
    if (sync_failed_) request.error = EIO;
  }
  request.latch->arrive();
}

void SimBlockFile::submit(IoRequest& request) {
  ++disk_.requests;
  request.file = this;
  request.error = 0;
  switch (request.kind) {
    case IoRequest::Kind::kRead:
      return submit_read(request);
    case IoRequest::Kind::kWrite:
    case IoRequest::Kind::kZero:
    case IoRequest::Kind::kPunch:
      return submit_write(request);
    case IoRequest::Kind::kSync:
      return submit_sync(request);
  }
}

void SimBlockFile::submit_read(IoRequest& request) {
  const bool beyond = request.offset_bytes + request.length_bytes > file_.size_;
  const bool broken = fails(request.kind);
  // Two looks at the disk, each for some of the sectors: a write may come between.
  const auto mask = static_cast<std::uint8_t>(rng_.next());
  const auto look = [this, &request](std::uint8_t sectors) {
    for (std::uint64_t done = 0; done < request.length_bytes; done += kBlockBytes) {
      const std::uint64_t index = (request.offset_bytes + done) / kBlockBytes;
      const bool there = index < file_.blocks_.size() && file_.blocks_[index];
      if (sectors == 0xff && there) {
        std::memcpy(request.memory + done, file_.blocks_[index]->visible.data(), kBlockBytes);
        continue;
      }
      for (unsigned i = 0; i < kSectorsPerBlock; ++i) {
        if (!(sectors >> i & 1)) continue;
        std::byte* to = request.memory + done + i * kSectorBytes;
        if (there)
          std::memcpy(to, &file_.blocks_[index]->visible[i * kSectorBytes], kSectorBytes);
        else
          std::memset(to, 0, kSectorBytes);
      }
    }
  };
  const auto stall = std::exchange(disk_.stall_next_read, {});
  const auto first = stall.count() != 0 ? stall : latency();
  const bool torn = stall.count() == 0 && rng_.once_in(2);
  if (torn && !beyond) scheduler_.after(first, [look, mask] { look(mask); });
  const auto second = torn ? first + latency() : first;
  scheduler_.after(second, [this, &request, look, mask, torn, beyond, broken] {
    if (!beyond) look(torn ? static_cast<std::uint8_t>(~mask) : std::uint8_t{0xff});
    finish(request, beyond || broken ? EIO : 0);
  });
}

void SimBlockFile::submit_write(IoRequest& request) {
  const bool beyond = request.offset_bytes + request.length_bytes > file_.size_;
  if (beyond) {
    scheduler_.after(latency(), [this, &request] { finish(request, ENOSPC); });
    return;
  }
  std::vector<SimFile::Version*> versions;
  const std::uint64_t first = request.offset_bytes / kBlockBytes;
  for (std::uint64_t done = 0; done < request.length_bytes; done += kBlockBytes) {
    SimFile::Block& block = file_.block(first + done / kBlockBytes);
    auto version = std::make_unique<SimFile::Version>();
    if (request.kind != IoRequest::Kind::kWrite)
      version->bytes.fill(std::byte{0});
    else
      std::memcpy(version->bytes.data(), request.memory + done, kBlockBytes);
    versions.push_back(version.get());
    block.versions.push_back(std::move(version));
    file_.unsynced_.insert(first + done / kBlockBytes);
  }
  const auto show = [this, versions, first](std::uint8_t sectors) {
    for (std::size_t i = 0; i < versions.size(); ++i)
      copy_sectors(file_.block(first + i).visible, versions[i]->bytes, sectors);
  };
  const bool broken = fails(request.kind);
  const auto mask = static_cast<std::uint8_t>(rng_.next());
  std::chrono::nanoseconds stall{};
  if (request.offset_bytes >= disk_.stall_from_bytes) stall = std::exchange(disk_.stall_next_write, {});
  const auto half = stall.count() != 0 ? stall : latency();
  const bool torn = broken || (stall.count() == 0 && rng_.once_in(2));
  if (torn) scheduler_.after(half, [show, mask] { show(mask); });
  scheduler_.after(torn ? half + latency() : half, [this, &request, show, versions, mask, broken] {
    if (!broken) show(0xff);
    ++file_.completions_;
    for (SimFile::Version* version : versions) {
      version->completed = file_.completions_;
      if (broken) version->sectors &= mask;
    }
    finish(request, broken ? EIO : 0);
  });
}

void SimBlockFile::submit_sync(IoRequest& request) {
  if (sync_failed_) {
    request.error = EIO;
    request.latch->arrive();
    return;
  }
  written_ = false;
  ++syncs_in_flight_;
  ++disk_.syncs_under_way;
  ++disk_.syncs;
  const std::uint64_t barrier = file_.completions_;
  const std::uint64_t size = file_.size_;
  const bool broken = fails(request.kind);
  const auto stall = std::exchange(disk_.stall_next_sync, {});
  scheduler_.after(stall.count() != 0 ? stall : latency() * 2, [this, &request, barrier, size, broken] {
    file_.synced(barrier, broken);
    if (!broken) file_.durable_size_ = std::max(file_.durable_size_, size);
    finish(request, broken ? EIO : 0);
  });
}

// What was punched counts as written: only a block without a past is a hole.
std::uint64_t SimBlockFile::first_hole(std::uint64_t from_bytes, std::uint64_t to_bytes) {
  if (file_.device) return to_bytes;
  std::uint64_t index = from_bytes / kBlockBytes;
  while (index * kBlockBytes < to_bytes && index < file_.blocks_.size() && file_.blocks_[index]) ++index;
  return std::min(index * kBlockBytes, to_bytes);
}

std::optional<std::uint64_t> SimBlockFile::room_bytes() {
  if (file_.device) return std::nullopt;
  return file_.limit_ - file_.size_;
}

Result<> SimBlockFile::extend(std::uint64_t size_bytes) {
  if (size_bytes <= file_.size_) return {};
  if (size_bytes > file_.limit_)
    return fail(ErrorKind::kNoSpace, ENOSPC, "the simulated file system is full");
  file_.size_ = size_bytes;
  written_ = true;
  return {};
}

}  // namespace coppice::sim
