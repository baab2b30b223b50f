#include "pool/pool.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/mutation.h"
#include "coppice/aligned_buffer.h"
#include "pool/requests.h"
#include "pool/slab_front.h"
#include "pool/superblocks.h"
#include "pool/write_back_file.h"

namespace coppice {

Pool::Pool(Scheduler& scheduler, std::vector<Member> members)
    : scheduler_(scheduler),
      members_(std::move(members)),
      meta_copy_(members_.front().superblock.meta_copy),
      superblock_lock_(scheduler),
      kept_room_bytes_(members_.size()) {}

PhysicalBlock Pool::slab_start(std::uint64_t member, std::uint64_t slab) const {
  const Superblock& superblock = members_[member].superblock;
  return PhysicalBlock::of(member,
                           superblock.slabs_offset_bytes / kBlockBytes + slab * superblock.slab_blocks);
}

SlabLayout Pool::slab_layout(std::uint64_t member) const {
  return {members_[member].superblock.slab_blocks};
}

// Of the generation that follows, otherwise as it is.
Superblock Pool::next_superblock(std::uint64_t member) const {
  Superblock next = members_[member].superblock;
  next.generation = next_generation(next.generation);
  next.incompat |= incompat_;
  if (member != 0) return next;
  next.meta_copy = meta_copy_;
  next.ro_compat &= ~kRoCompatMetaCopy;
  if (meta_copy_.log.value != 0) next.ro_compat |= kRoCompatMetaCopy;
  return next;
}

Task<Result<>> Pool::write_meta_copy() {
  co_await superblock_lock_.lock();
  SuperblockWrite next{members_.front().file.get(), next_superblock(0)};
  const std::span<const SuperblockWrite> one(&next, 1);
  auto written = co_await write_superblocks_to(one, SuperblockPlaces::kOfGeneration);
  if (written) members_.front().superblock = next.superblock;
  superblock_lock_.unlock();
  co_return written;
}

Task<Result<>> Pool::write_superblocks(Mark mark) {
  co_await superblock_lock_.lock();
  std::vector<SuperblockWrite> writes;
  for (std::uint64_t i = 0; i < members_.size(); ++i) {
    const Member& member = members_[i];
    Superblock next = next_superblock(i);
    next.clean = mark.clean;
    next.open_generation = mark.open_generation;
    next.journal_tail_sequence = mark.journal_tail_sequence;
    writes.push_back({member.file.get(), next});
  }
  auto written = co_await write_superblocks_to(writes, SuperblockPlaces::kOfGeneration);
  if (written)
    for (std::size_t i = 0; i < members_.size(); ++i) members_[i].superblock = writes[i].superblock;
  superblock_lock_.unlock();
  co_return written;
}

Task<Result<>> Pool::require_feature(std::uint64_t incompat_bits) {
  const auto has = [incompat_bits](const Member& member) {
    return (member.superblock.incompat & incompat_bits) == incompat_bits;
  };
  co_await superblock_lock_.lock();
  incompat_ |= incompat_bits;
  Result<> written;
  if (!std::ranges::all_of(members_, has)) written = co_await write_again();
  superblock_lock_.unlock();
  co_return written;
}

// Under the lock: what they say, but for what is set for the next ones.
Task<Result<>> Pool::write_again() {
  std::vector<SuperblockWrite> writes;
  for (std::uint64_t i = 0; i < members_.size(); ++i)
    writes.push_back({members_[i].file.get(), next_superblock(i)});
  auto written = co_await write_superblocks_to(writes, SuperblockPlaces::kOfGeneration);
  if (written)
    for (std::size_t i = 0; i < members_.size(); ++i) members_[i].superblock = writes[i].superblock;
  co_return written;
}

bool Pool::has_room(const Member& member) const {
  const Superblock& superblock = member.superblock;
  return superblock.slab_count < superblock.max_slabs;
}

bool Pool::can_grow() const {
  for (const Member& member : members_)
    if (has_room(member)) return true;
  return false;
}

Task<Result<Pool::NewSlab>> Pool::add_slab() {
  co_await superblock_lock_.lock();
  auto added = co_await add_slab_locked();
  if (added) {
    told_full_ = false;
  } else if (added.error().kind == ErrorKind::kNoSpace) {
    tell_full();
  }
  superblock_lock_.unlock();
  co_return added;
}

std::optional<std::uint64_t> Pool::next_member(const std::vector<bool>& tried) const {
  std::optional<std::uint64_t> best;
  for (std::uint64_t i = 0; i < members_.size(); ++i) {
    if (tried[i] || !has_room(members_[i])) continue;
    if (!best || members_[i].superblock.slab_count < members_[*best].superblock.slab_count) best = i;
  }
  return best;
}

// A member whose file system is full leaves it to the others.
Task<Result<Pool::NewSlab>> Pool::add_slab_locked() {
  std::vector<bool> tried(members_.size());
  Error full{ErrorKind::kNoSpace, ENOSPC, "the pool is full"};
  while (true) {
    auto best = next_member(tried);
    if (next_ && next_->ready && !tried[next_->member]) best = next_->member;
    if (!best) co_return std::unexpected(full);
    tried[*best] = true;
    auto added = co_await add_slab_to(*best);
    if (added || added.error().kind != ErrorKind::kNoSpace) co_return added;
    full = added.error();
  }
}

Task<Result<Pool::NewSlab>> Pool::add_slab_to(std::uint64_t index) {
  Member& member = members_[index];
  const std::uint64_t slab = member.superblock.slab_count;
  const std::uint64_t start_bytes = slab_start(index, slab).offset_bytes();
  if (auto backed = back_slab(index, slab); !backed) co_return std::unexpected(backed.error());

  // Zeroes are written, not punched: what stood here before on a block device is gone, and the pages are
  // written extents when checkpoints come to them.
  const std::uint64_t metadata_bytes = slab_layout(index).first_data_block() * kBlockBytes;
  AlignedBuffer metadata(metadata_bytes);
  std::memset(metadata.data(), 0, metadata_bytes);
  const SlabHeader header{member.superblock.store, static_cast<std::uint32_t>(index), slab,
                          member.superblock.slab_blocks};
  encode_slab_header(header, metadata.span().first<kBlockBytes>());
  seal_empty_bitmaps(slab_layout(index), slab_start(index, slab), metadata.span());
  const auto image = metadata.first(metadata_bytes);
  auto written = co_await write_blocks(*member.file, start_bytes, image);
  if (!written) co_return std::unexpected(written.error());
  std::vector<BlockFile*> files{member.file.get()};
  auto synced = co_await sync_files(std::move(files));
  if (!synced) co_return std::unexpected(synced.error());

  SuperblockWrite next{member.file.get(), next_superblock(index)};
  ++next.superblock.slab_count;
  const std::span<const SuperblockWrite> one(&next, 1);
  Result<> named;
  if (!mutated(Mutation::kSlabNamedLate))
    named = co_await write_superblocks_to(one, SuperblockPlaces::kOfGeneration);
  if (!named) co_return std::unexpected(named.error());
  member.superblock = next.superblock;
  if (next_ && next_->member == index) next_.reset();
  co_return NewSlab{index, slab};
}

void Pool::begin_write_back() {
  writes_back_ = true;
  for (Member& member : members_) member.file = std::make_unique<WriteBackFile>(std::move(member.file));
}

void Pool::end_write_back() {
  if (!writes_back_) return;
  writes_back_ = false;
  for (Member& member : members_) member.file = static_cast<WriteBackFile&>(*member.file).take();
}

Task<Result<>> Pool::sync_read() {
  std::vector<SuperblockWrite> writes;
  std::vector<BlockFile*> files;
  for (const Member& member : members_) {
    files.push_back(member.file.get());
    writes.push_back({member.file.get(), member.superblock});
    writes.back().superblock.generation |= 1;
  }
  Result<> synced;
  if (mutated(Mutation::kSuperblocksTrusted)) {
    synced = co_await sync_files(std::move(files));
  } else {
    synced = co_await write_superblocks_to(writes, SuperblockPlaces::kOfGeneration);
  }
  co_return synced;
}

void Pool::on_failed_sync(const std::function<void(const Error&)>& callback) {
  for (Member& member : members_) member.file->on_failed_sync(callback);
}

Task<Result<>> Pool::sync_all() {
  std::vector<BlockFile*> files;
  for (const Member& member : members_)
    if (member.file->needs_sync()) files.push_back(member.file.get());
  auto synced = co_await sync_files(std::move(files));
  co_return synced;
}

}  // namespace coppice
