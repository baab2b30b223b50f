// Publishing: from "the data is on the device" to "the map says so", in one step without suspension: staged
// record, leaves, checksums, allocation.
#pragma once

#include <span>

#include "disk/leaf_pins.h"
#include "disk/write_plan.h"

namespace coppice {

// Zeroes stand over what is data, and holes stay holes; or, where a base would show through these, over
// both.
enum class Holes : std::uint8_t { kStay, kFilled };
// Edits a pinned leaf as a map record of `epoch` says: data, or zeroes. Used by the data path and by redo
// alike, which find the same leaf and so make the same of it.
void map_leaf(LeafMap& map, CachedLeaf& leaf, Epoch epoch, unsigned from, unsigned count,
              PhysicalBlock physical, Holes holes);

Holes holes_of(const MapRecord& record);

// Blocks of a leaf's part that the write replaces and nobody else sees.
void append_freed(Parts& parts, const Head& head, Epoch epoch, const CachedLeaf& leaf, unsigned from,
                  unsigned count, std::vector<PhysicalRun>& into);

// Publishes a piece; checksums are of its blocks, and the pages they go to are pinned. The leaves are pinned,
// as seen from (branch, epoch). Returns the journal position behind its record.
std::uint64_t publish_redirected(Parts& parts, Head& head, Epoch epoch, BlockIndex first, PhysicalRun run,
                                 std::span<const std::uint32_t> checksums, LeafPins& leaves);
// The same in two steps, around a suspension: the record, staged early, and its effect. In between the range
// is held and no sweep passes the leaves.
MapRecord map_record(Parts& parts, Head& head, Epoch epoch, BlockIndex first, PhysicalRun run,
                     std::span<const std::uint32_t> checksums, LeafPins& leaves);
void apply_record(Parts& parts, Head& head, const MapRecord& record, std::uint64_t position,
                  LeafPins& leaves);
ChecksumRecord in_place_record(Epoch epoch, PhysicalRun run, std::span<const std::uint32_t> checksums);
std::uint64_t publish_in_place(Parts& parts, Epoch epoch, PhysicalRun run,
                               std::span<const std::uint32_t> checksums);
std::uint64_t publish_zero(Parts& parts, Head& head, Epoch epoch, BlockIndex first, std::uint64_t count,
                           Holes holes, LeafPins& leaves);

}  // namespace coppice
