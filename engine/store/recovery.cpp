#include "store/recovery.h"

#include <cerrno>

#include "base/hash.h"
#include "coppice/aligned_buffer.h"
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
  const View view{record.branch, record.epoch};
  for (std::uint64_t done = 0; done < record.count;) {
    const BlockIndex block = record.first.next(done);
    const unsigned from = index_in_leaf(block);
    const auto part = static_cast<unsigned>(std::min<std::uint64_t>(kLeafBlocks - from, record.count - done));
    auto leaf = co_await map_.load(view, leaf_of(block));
    if (!leaf) co_return std::unexpected(leaf.error());
    const PhysicalBlock physical = record.physical.value == 0 ? PhysicalBlock{0} : record.physical.next(done);
    map_leaf(map_, **leaf, record.epoch, from, part, physical);
    map_.unpin(*leaf);
    done += part;
  }
  if (record.physical.value != 0) {
    const PhysicalRun run{record.physical, record.count};
    if (!allocator_.contains(run)) co_return damaged();
    allocator_.own(run);
    auto applied = co_await apply_checksums(record.physical, record.checksums);
    if (!applied) co_return applied;
  }
  for (const ReclaimedVersion& version : record.superseded) {
    map_.erase_version({version.branch, version.leaf, version.version});
  }
  co_return free(record.freed);
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

// Everything in the journal is durable, so nothing needs quarantine.
Result<> Redo::free(const std::vector<PhysicalRun>& runs) {
  for (const PhysicalRun& run : runs) {
    if (!allocator_.contains(run)) return damaged();
    allocator_.disown(run);
    allocator_.release(run);
  }
  return {};
}

Task<Result<std::vector<Record>>> settle_in_flight(Pool& pool, Allocator& allocator, ChecksumPages& checksums,
                                                   const std::vector<PhysicalRun>& runs) {
  std::vector<Record> records;
  for (const PhysicalRun& run : runs) {
    if (!allocator.contains(run)) co_return damaged();
    AlignedBuffer content(run.count * kBlockBytes);
    auto read = co_await read_blocks(pool.file(run.first.member()), run.first.offset_bytes(), content.span());
    if (!read) co_return std::unexpected(read.error());
    auto pinned = co_await checksums.pin(run);
    if (!pinned) co_return std::unexpected(pinned.error());
    for (std::uint64_t i = 0; i < run.count; ++i) {
      const PhysicalBlock address = run.first.next(i);
      const std::span<const std::byte, kBlockBytes> block(content.data() + i * kBlockBytes, kBlockBytes);
      const std::uint32_t found = block_checksum(block, address);
      if (checksums.get(address) == found) continue;
      checksums.set(address, std::span(&found, 1));
      records.emplace_back(ChecksumRecord{address, {found}});
    }
    checksums.unpin(run);
  }
  co_return records;
}

}  // namespace coppice
