#include "store/recovery.h"

#include <algorithm>
#include <cerrno>

#include "base/mutation.h"
#include "disk/publish.h"

namespace coppice {

namespace {

std::unexpected<Error> damaged() {
  return fail(ErrorKind::kCorrupt, EIO, "the journal names a block that is outside the pool");
}

}  // namespace

Task<Result<>> Redo::apply(const Record& record) {
  ++applied_;
  if (const auto* map = std::get_if<MapRecord>(&record)) {
    auto applied = co_await apply_map(*map);
    co_return applied;
  }
  if (const auto* checksum = std::get_if<ChecksumRecord>(&record)) {
    auto applied = co_await apply_checksums(checksum->first, checksum->checksums);
    co_return applied;
  }
  if (const auto* meta = std::get_if<MetaRecord>(&record)) co_return apply_edits(meta->edits);
  const auto& reclaim = std::get<ReclaimRecord>(record);
  for (const ReclaimedVersion& version : reclaim.versions) {
    auto punched = co_await map_.punch_version({version.branch, version.leaf, version.version}, version.mask);
    if (!punched) co_return punched;
  }
  auto freed = free(reclaim.freed);
  if (!freed) co_return freed;
  co_return apply_edits(reclaim.edits);
}

Task<Result<>> Redo::apply_map(const MapRecord& record) {
  tree_.note_epoch(record.epoch);
  auto mapped = co_await map_blocks(record, 0, record.count);
  if (!mapped) co_return mapped;
  for (const ReclaimedVersion& version : record.superseded) {
    map_.erase_version({version.branch, version.leaf, version.version});
  }
  co_return free(record.freed);
}

Task<Result<>> Redo::map_blocks(const MapRecord& record, std::uint64_t offset, std::uint64_t count) {
  const View view{record.branch, record.epoch};
  const bool data = record.physical.value != 0;
  for (std::uint64_t done = offset; done < offset + count;) {
    const BlockIndex block = record.first.next(done);
    const unsigned from = index_in_leaf(block);
    const auto part =
        static_cast<unsigned>(std::min<std::uint64_t>(kLeafBlocks - from, offset + count - done));
    auto leaf = co_await map_.load(view, leaf_of(block));
    if (!leaf) co_return std::unexpected(leaf.error());
    const PhysicalBlock physical = data ? record.physical.next(done) : PhysicalBlock{0};
    const Holes holes = mutated(Mutation::kZeroesForgetBase) ? Holes::kStay : holes_of(record);
    map_leaf(map_, **leaf, record.epoch, from, part, physical, holes);
    map_.unpin(*leaf);
    done += part;
  }
  if (!data) co_return Result<>{};
  const PhysicalRun run{record.physical.next(offset), count};
  if (!allocator_.contains(run)) co_return damaged();
  allocator_.own(run);
  auto applied = co_await apply_checksums(run.first, std::span(record.checksums).subspan(offset, count));
  co_return applied;
}

Task<Result<>> Redo::apply_checksums(PhysicalBlock first, std::span<const std::uint32_t> checksums) {
  const PhysicalRun run{first, checksums.size()};
  if (!allocator_.contains(run)) co_return damaged();
  auto pinned = co_await checksums_.pin(run);
  if (!pinned) co_return pinned;
  checksums_.set(first, checksums);
  checksums_.unpin(run);
  co_return Result<>{};
}

Result<> Redo::apply_edits(const std::vector<MetaEdit>& edits) {
  auto applied = tree_.apply(edits);
  for (const MetaEdit& edit : edits) {
    if (!edit.erase) continue;
    if (auto branch = id_of_key(edit.key, "branch/")) map_.drop_branch(BranchId{*branch});
  }
  return applied;
}

// They stay in quarantine as long as recovery may be done again: a record of the tail that maps one of them
// must find its content there.
Result<> Redo::free(const std::vector<PhysicalRun>& runs) {
  for (const PhysicalRun& run : runs) {
    if (!allocator_.contains(run)) return damaged();
    allocator_.disown(run);
    freed_.push_back(run);
  }
  if (mutated(Mutation::kRedoFreesAtOnce)) release_freed();
  return {};
}

void Redo::release_freed() {
  for (const PhysicalRun& run : freed_) allocator_.release(run);
  freed_.clear();
}

Task<Result<std::vector<Record>>> settle_in_flight(Allocator& allocator, ChecksumPages& checksums,
                                                   const TailProof& proof,
                                                   const std::vector<PhysicalRun>& runs) {
  std::vector<Record> records;
  for (const PhysicalRun& run : runs) {
    if (!allocator.contains(run)) co_return damaged();
    auto pinned = co_await checksums.pin(run);
    if (!pinned) co_return std::unexpected(pinned.error());
    for (std::uint64_t i = 0; i < run.count; ++i) {
      const PhysicalBlock address = run.first.next(i);
      const auto found = proof.found(address);
      // A fresh block whose write was lost belongs to nobody.
      if (!found || !allocator.owned(address) || checksums.get(address) == *found) continue;
      checksums.set(address, std::span(&*found, 1));
      records.emplace_back(ChecksumRecord{address, {*found}});
    }
    checksums.unpin(run);
  }
  co_return records;
}

}  // namespace coppice
