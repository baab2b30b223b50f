// Space for slabs, and the slab that is made ready before it is needed.
#include <algorithm>
#include <cstring>

#include "coppice/aligned_buffer.h"
#include "coppice/bytes.h"
#include "pool/member_file.h"
#include "pool/pool.h"
#include "pool/superblocks.h"

namespace coppice {

std::uint64_t Pool::slab_end_bytes(std::uint64_t member, std::uint64_t slab) const {
  return slab_start(member, slab).offset_bytes() + members_[member].superblock.slab_blocks * kBlockBytes;
}

bool Pool::fits(std::uint64_t member, std::uint64_t bytes) const {
  const auto room = members_[member].file->room_bytes();
  return !room || (*room >= bytes && *room - bytes >= kept_room_bytes_[member]);
}

void Pool::keep_room(const std::string& beside, std::uint64_t bytes) {
  const auto there = room_for(beside);
  for (std::size_t i = 0; i < members_.size(); ++i) {
    const auto here = room_for(members_[i].file->path());
    kept_room_bytes_[i] = there && here && there->device == here->device ? bytes : 0;
  }
}

// Reserves the space of a slab. Blocks this thread for the few milliseconds that it takes: once per slab.
// Whether there is room is asked first, so that a full file system costs a writer next to nothing.
Result<> Pool::back_slab(std::uint64_t index, std::uint64_t slab) {
  BlockFile& file = *members_[index].file;
  const std::uint64_t end_bytes = slab_end_bytes(index, slab);
  if (end_bytes > file.size_bytes()) {
    if (!fits(index, end_bytes - file.size_bytes()))
      return fail(ErrorKind::kNoSpace, ENOSPC, "the file system below the pool is full");
    return file.extend(end_bytes);
  }
  if (members_[index].superblock.grows) return {};
  // Made longer by hand, it may have holes.
  const std::uint64_t start_bytes = slab_start(index, slab).offset_bytes();
  return file.reserve(start_bytes, end_bytes - start_bytes);
}

// Once, until a slab was added again.
void Pool::tell_full() {
  if (told_full_ || !notice_) return;
  told_full_ = true;
  for (std::uint64_t i = 0; i < members_.size(); ++i) {
    const auto room = members_[i].file->room_bytes();
    if (!room || !has_room(members_[i]) || !members_[i].superblock.grows) continue;
    notice_("pool file " + members_[i].file->path() + " can't grow: " + format_size(*room) +
            " are free on its file system; a slab has " +
            format_size(members_[i].superblock.slab_blocks * kBlockBytes) +
            (kept_room_bytes_[i] == 0
                 ? std::string()
                 : ", and " + format_size(kept_room_bytes_[i]) + " are kept for the map") +
            ": free space there");
  }
}

Task<Result<Pool::Ahead>> Pool::prepare_slab(std::uint64_t most_bytes) {
  co_await superblock_lock_.lock();
  auto step = co_await prepare_locked(most_bytes);
  superblock_lock_.unlock();
  co_return step;
}

Task<Result<Pool::Ahead>> Pool::prepare_locked(std::uint64_t most_bytes) {
  const auto index = next_member(std::vector<bool>(members_.size()));
  if (!index) co_return Ahead{};
  const std::uint64_t slab = members_[*index].superblock.slab_count;
  const std::uint64_t slab_bytes = members_[*index].superblock.slab_blocks * kBlockBytes;
  const std::uint64_t end_bytes = slab_end_bytes(*index, slab);
  BlockFile& file = *members_[*index].file;
  if (!next_ || next_->member != *index || next_->slab != slab) {
    if (end_bytes > file.size_bytes() && !fits(*index, 2 * slab_bytes)) co_return Ahead{};
    if (auto backed = back_slab(*index, slab); !backed) {
      if (backed.error().kind == ErrorKind::kNoSpace) co_return Ahead{};
      co_return std::unexpected(backed.error());
    }
    next_ = Next{*index, slab, end_bytes - slab_bytes, false};
  }
  if (next_->ready) co_return Ahead{0, true};
  const std::uint64_t hole = file.first_hole(next_->done_bytes, end_bytes);
  if (hole >= end_bytes) {
    auto synced = co_await sync_file(file);
    if (!synced) co_return std::unexpected(synced.error());
    next_->ready = true;
    co_return Ahead{0, true};
  }
  const std::uint64_t from = round_down(hole, kBlockBytes);
  AlignedBuffer zeroes(std::min(most_bytes, end_bytes - from));
  std::memset(zeroes.data(), 0, zeroes.size());
  auto written = co_await write_blocks(file, from, zeroes.span());
  if (!written) co_return std::unexpected(written.error());
  next_->done_bytes = from + zeroes.size();
  co_return Ahead{zeroes.size(), false};
}

}  // namespace coppice
