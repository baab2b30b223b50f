#include "pool/member_plan.h"

#include <algorithm>
#include <bit>

#include "coppice/bytes.h"
#include "layout/slab.h"

namespace coppice {

namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kJournalUnitBytes = kMiB;
constexpr std::uint64_t kMinJournalBytes = 64 * kMiB;
constexpr std::uint64_t kMaxJournalBytes = 1024 * kMiB;
constexpr std::uint64_t kSlabsWanted = 8;
constexpr std::uint64_t kWorthlessShare = 32;
// Blocks that a PhysicalBlock can name in one member.
constexpr std::uint64_t kMaxMemberBlocks = std::uint64_t{1} << PhysicalBlock::kMemberShift;

// What there is to plan with, in bytes.
std::uint64_t reach_of(const MemberSize& member) {
  const std::uint64_t bytes = member.size_bytes != 0 ? member.size_bytes : member.room_bytes;
  return std::min(bytes, kMaxMemberBlocks * kBlockBytes);
}

// A small member 0 keeps 7/8 of itself for data, and a slab in any case.
std::uint64_t journal_size(std::span<const MemberSize> members) {
  std::uint64_t total_bytes = 0;
  for (const MemberSize& member : members) total_bytes += member.size_bytes;
  const std::uint64_t first = reach_of(members[0]);
  const std::uint64_t least_rest = kSuperblockAreaBytes + kMinSlabBlocks * kBlockBytes;
  std::uint64_t size = std::clamp(total_bytes / 1024, kMinJournalBytes, kMaxJournalBytes);
  size = std::min({size, first / 8, first - std::min(first, least_rest)});
  return std::max(round_down(size, kJournalUnitBytes), kJournalUnitBytes);
}

std::uint64_t slab_size(std::uint64_t room_blocks) {
  std::uint64_t size = std::bit_floor(std::max<std::uint64_t>(room_blocks / kSlabsWanted, 1));
  size = std::clamp(size, kMinSlabBlocks, kDefaultSlabBlocks);
  while (size > kMinSlabBlocks && room_blocks % size > room_blocks / kWorthlessShare) size /= 2;
  return size;
}

std::unexpected<Failure> too_small(const MemberSize& member, std::uint64_t least_bytes) {
  if (member.size_bytes == 0)
    return refuse(ErrorKind::kNoSpace, "pool file " + member.path + ": its file system has " +
                                           format_size(member.room_bytes) + " free, and it needs at least " +
                                           format_size(least_bytes) + ": free space or choose another");
  return refuse(ErrorKind::kInvalid, "pool file " + member.path + " of " + format_size(member.size_bytes) +
                                         " is too small: give it at least " + format_size(least_bytes));
}

}  // namespace

Outcome<std::vector<Superblock>> plan_members(std::span<const MemberSize> members) {
  if (members.empty() || members.size() > kMaxMembers)
    return refuse(ErrorKind::kInvalid,
                  "a pool has 1 to 256 files or devices, not " + std::to_string(members.size()));
  std::vector<Superblock> plan(members.size());
  for (std::size_t i = 0; i < members.size(); ++i) {
    Superblock& superblock = plan[i];
    superblock.member = static_cast<std::uint32_t>(i);
    superblock.member_count = static_cast<std::uint32_t>(members.size());
    superblock.grows = members[i].grows;
    superblock.journal_offset_bytes = i == 0 ? kSuperblockAreaBytes : 0;
    superblock.journal_bytes = i == 0 ? journal_size(members) : 0;
    superblock.slabs_offset_bytes = kSuperblockAreaBytes + superblock.journal_bytes;

    const std::uint64_t start_blocks = superblock.slabs_offset_bytes / kBlockBytes;
    const std::uint64_t end_blocks = reach_of(members[i]) / kBlockBytes;
    const std::uint64_t least_blocks = start_blocks + kMinSlabBlocks;
    if (end_blocks < least_blocks) return too_small(members[i], least_blocks * kBlockBytes);
    superblock.slab_blocks = slab_size(end_blocks - start_blocks);
    const std::uint64_t most_blocks = members[i].grows ? kMaxMemberBlocks : end_blocks;
    superblock.max_slabs = (most_blocks - start_blocks) / superblock.slab_blocks;
  }
  return plan;
}

bool geometry_is_sane(const Superblock& superblock) {
  if (!std::has_single_bit(superblock.slab_blocks) || superblock.slab_count > superblock.max_slabs)
    return false;
  return superblock.member != 0 || superblock.journal_bytes > 0;
}

std::uint64_t unused_bytes(const Superblock& superblock, std::uint64_t size_bytes) {
  const std::uint64_t slab_bytes = superblock.slab_blocks * kBlockBytes;
  return superblock.grows ? 0
                          : size_bytes - superblock.slabs_offset_bytes - superblock.max_slabs * slab_bytes;
}

void use_growth(Superblock& superblock, std::uint64_t size_bytes) {
  if (superblock.grows || size_bytes <= superblock.slabs_offset_bytes) return;
  const std::uint64_t bytes = std::min(size_bytes, kMaxMemberBlocks * kBlockBytes);
  const std::uint64_t fit = (bytes - superblock.slabs_offset_bytes) / (superblock.slab_blocks * kBlockBytes);
  superblock.max_slabs = std::max(superblock.max_slabs, fit);
}

std::uint64_t used_bytes(const Superblock& superblock) {
  return superblock.slabs_offset_bytes + superblock.slab_count * superblock.slab_blocks * kBlockBytes;
}

}  // namespace coppice
