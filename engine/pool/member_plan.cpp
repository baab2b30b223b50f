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
// Blocks that a PhysicalBlock can name in one member.
constexpr std::uint64_t kMaxMemberBlocks = std::uint64_t{1} << PhysicalBlock::kMemberShift;

std::uint64_t journal_size(std::span<const MemberSize> members) {
  std::uint64_t total_bytes = 0;
  for (const MemberSize& member : members)
    if (!member.grows) total_bytes += member.size_bytes;
  std::uint64_t size = std::clamp(total_bytes / 1024, kMinJournalBytes, kMaxJournalBytes);
  if (!members[0].grows) size = std::min(size, members[0].size_bytes / 8);
  return std::max(round_down(size, kJournalUnitBytes), kJournalUnitBytes);
}

std::uint64_t slab_size(std::uint64_t room_blocks) {
  const std::uint64_t wanted = std::bit_floor(std::max<std::uint64_t>(room_blocks / kSlabsWanted, 1));
  return std::clamp(wanted, kMinSlabBlocks, kDefaultSlabBlocks);
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
    const std::uint64_t end_blocks =
        members[i].grows ? kMaxMemberBlocks : std::min(members[i].size_bytes / kBlockBytes, kMaxMemberBlocks);
    const std::uint64_t least_blocks = start_blocks + kMinSlabBlocks;
    if (end_blocks < least_blocks)
      return refuse(ErrorKind::kInvalid,
                    "pool file " + members[i].path + " of " + format_size(members[i].size_bytes) +
                        " is too small: give it at least " + format_size(least_blocks * kBlockBytes));
    superblock.slab_blocks = slab_size(end_blocks - start_blocks);
    superblock.max_slabs = (end_blocks - start_blocks) / superblock.slab_blocks;
  }
  return plan;
}

bool geometry_is_sane(const Superblock& superblock) {
  if (!std::has_single_bit(superblock.slab_blocks) || superblock.slab_count > superblock.max_slabs)
    return false;
  return superblock.member != 0 || superblock.journal_bytes > 0;
}

std::uint64_t used_bytes(const Superblock& superblock) {
  return superblock.slabs_offset_bytes + superblock.slab_count * superblock.slab_blocks * kBlockBytes;
}

}  // namespace coppice
