#include "disk/publish.h"

#include "base/mutation.h"
#include "tree/fate.h"

namespace coppice {

namespace {

// Where zeroes change something.
std::uint64_t zero_mask(const Leaf& leaf, unsigned from, unsigned count, Holes holes) {
  std::uint64_t mask = 0;
  for (unsigned index = from; index < from + count;) {
    const LeafRun run = leaf.run_at(index);
    const unsigned end = std::min(run.end(), from + count);
    const bool hole = run.kind == LeafRun::Kind::kHole;
    if (hole ? holes == Holes::kFilled : run.kind == LeafRun::Kind::kData)
      mask |= leaf_mask(index, end - index);
    index = end;
  }
  return mask;
}

// A version made by an earlier piece of the same write stands behind the pin by now.
CachedLeaf* current(Parts& parts, View view, CachedLeaf& pinned) {
  CachedLeaf* leaf = parts.map.find(view, pinned.index);
  if (leaf == nullptr) std::abort();  // dirty or pinned: always in memory
  return leaf;
}

void free_and_own(Parts& parts, std::uint64_t position, const MapRecord& record) {
  if (record.physical.value != 0) {
    const PhysicalRun run{record.physical, record.count};
    parts.allocator.own(run);
    parts.pending.mapped(position, run);
    parts.checksums.set(record.physical, record.checksums);
  }
  for (const PhysicalRun& run : record.freed) parts.allocator.disown(run);
  parts.pending.freed(position, record.freed);
}

// What a head frees was born on its own disk: it ends at the node that the disk was cloned from.
void charge(Parts& parts, const Head& head, const MapRecord& record) {
  if (!parts.charges.any()) return;
  const DiskId disk = parts.tree.disk_of(head.branch);
  if (record.physical.value != 0) parts.charges.mapped(disk, record.count);
  for (const PhysicalRun& run : record.freed) parts.charges.freed(disk, run.count);
}

// A version that stays behind without a viewer: the nodes that saw it are reclaimed, and the head, which went
// on using it, gets one of its own with this write.
void append_superseded(Parts& parts, const Head& head, const CachedLeaf& leaf, unsigned from, unsigned count,
                       MapRecord& record) {
  if (mutated(Mutation::kNoSuperseded)) return;
  const LeafKey key = version_of(leaf);
  const bool writes = record.physical.value != 0 || zero_mask(leaf.leaf, from, count, holes_of(record)) != 0;
  if (!writes || key.branch.value == 0 || key.version == record.epoch) return;
  if (key.version <= parts.tree.free_floor(head.node, record.epoch, leaf.index)) return;
  record.superseded.push_back({key.branch, key.leaf, key.version, ~std::uint64_t{0}});
}

// What it frees and leaves behind.
void complete(Parts& parts, Head& head, MapRecord& record, LeafPins& leaves) {
  const View view{head.branch, record.epoch};
  for_each_leaf(record.first, record.count, [&](LeafIndex leaf, unsigned from, unsigned part, std::uint64_t) {
    CachedLeaf* now = current(parts, view, leaves.at(leaf));
    append_freed(parts, head, record.epoch, *now, from, part, record.freed);
    append_superseded(parts, head, *now, from, part, record);
    parts.map.unpin(now);
  });
}

}  // namespace

MapRecord map_record(Parts& parts, Head& head, Epoch epoch, BlockIndex first, PhysicalRun run,
                     std::span<const std::uint32_t> checksums, LeafPins& leaves) {
  MapRecord record{head.branch, epoch, first, run.count, run.first, {checksums.begin(), checksums.end()}, {}};
  complete(parts, head, record, leaves);
  return record;
}

void apply_record(Parts& parts, Head& head, const MapRecord& record, std::uint64_t position,
                  LeafPins& leaves) {
  const View view{head.branch, record.epoch};
  for_each_leaf(record.first, record.count,
                [&](LeafIndex leaf, unsigned from, unsigned part, std::uint64_t offset) {
                  CachedLeaf* now = current(parts, view, leaves.at(leaf));
                  const PhysicalBlock physical =
                      record.physical.value == 0 ? PhysicalBlock{0} : record.physical.next(offset);
                  map_leaf(parts.map, *now, record.epoch, from, part, physical, holes_of(record));
                  parts.map.unpin(now);
                });
  for (const ReclaimedVersion& version : record.superseded) {
    parts.map.erase_version({version.branch, version.leaf, version.version});
  }
  free_and_own(parts, position, record);
  charge(parts, head, record);
}

Holes holes_of(const MapRecord& record) {
  return record.over_base ? Holes::kFilled : Holes::kStay;
}

void map_leaf(LeafMap& map, CachedLeaf& leaf, Epoch epoch, unsigned from, unsigned count,
              PhysicalBlock physical, Holes holes) {
  if (physical.value != 0) {
    map.edit(&leaf, epoch, leaf_mask(from, count))->leaf.map(from, count, physical, epoch);
    return;
  }
  const std::uint64_t mask = zero_mask(leaf.leaf, from, count, holes);
  if (mask == 0) return;
  Leaf& target = map.edit(&leaf, epoch, mask)->leaf;
  for (unsigned bit = from; bit < from + count; ++bit) {
    if (mask >> bit & 1) target.zero(bit, 1, epoch);
  }
}

void append_freed(Parts& parts, const Head& head, Epoch epoch, const CachedLeaf& leaf, unsigned from,
                  unsigned count, std::vector<PhysicalRun>& into) {
  const Epoch floor = parts.tree.free_floor(head.node, epoch, leaf.index);
  for (unsigned index = from; index < from + count;) {
    const LeafRun run = leaf.leaf.run_at(index);
    const unsigned end = std::min(run.end(), from + count);
    const std::uint64_t length = end - index;
    if (run.kind == LeafRun::Kind::kData && run.birth > floor) {
      if (!into.empty() && into.back().first.next(into.back().count) == run.physical) {
        into.back().count += length;
      } else {
        into.push_back({run.physical, length});
      }
    }
    index = end;
  }
}

std::uint64_t publish_redirected(Parts& parts, Head& head, Epoch epoch, BlockIndex first, PhysicalRun run,
                                 std::span<const std::uint32_t> checksums, LeafPins& leaves) {
  const MapRecord record = map_record(parts, head, epoch, first, run, checksums, leaves);
  const std::uint64_t position = parts.journal.stage(record);
  apply_record(parts, head, record, position, leaves);
  return position;
}

std::uint64_t publish_zero(Parts& parts, Head& head, Epoch epoch, BlockIndex first, std::uint64_t count,
                           Holes holes, LeafPins& leaves) {
  MapRecord record{head.branch, epoch, first, count, PhysicalBlock{0}, {}, {}};
  record.over_base = holes == Holes::kFilled;
  complete(parts, head, record, leaves);
  const std::uint64_t position = parts.journal.stage(record);
  apply_record(parts, head, record, position, leaves);
  return position;
}

ChecksumRecord in_place_record(Epoch epoch, PhysicalRun run, std::span<const std::uint32_t> checksums) {
  return {run.first, {checksums.begin(), checksums.end()}, epoch_tag(epoch)};
}

std::uint64_t publish_in_place(Parts& parts, Epoch epoch, PhysicalRun run,
                               std::span<const std::uint32_t> checksums) {
  const std::uint64_t position = parts.journal.stage(in_place_record(epoch, run, checksums));
  parts.checksums.set(run.first, checksums);
  return position;
}

}  // namespace coppice
