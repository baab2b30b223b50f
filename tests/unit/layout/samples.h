// Values for the layout tests: one fixed sample of each structure, which the golden files freeze, and random
// ones from a seed.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "layout/batch.h"
#include "layout/keys.h"
#include "layout/leaf.h"
#include "layout/record.h"
#include "layout/slab.h"
#include "layout/superblock.h"
#include "layout/tree_values.h"

namespace coppice::layout_test {

using Bytes = std::vector<std::byte>;
using Random = std::mt19937_64;

inline constexpr std::uint64_t kStamp = 0x5354414d50;

Uuid sample_uuid(std::uint8_t first);
Superblock sample_superblock();
MetaCopyPlace sample_meta_copy();
MetaSegment sample_meta_segment();
// Sealed at PhysicalBlock::of(1, 108).
Bytes sample_meta_frame();
SlabHeader sample_slab_header();
Leaf sample_leaf();
MapRecord sample_map();
MapRecord sample_zero_map();
MapRecord sample_zero_over_base();
BaseValue sample_base();
ChecksumRecord sample_checksum();
MetaRecord sample_meta();
ReclaimRecord sample_reclaim();
NodeValue sample_node();
NodeValue sample_node_with_policies();
NodeValue sample_node_of_a_group();
// A sealed batch with the sample map and checksum records in it.
Bytes sample_batch();

Record random_record(Random& random);
std::string random_text(Random& random, std::size_t max_bytes);
inline std::uint64_t below(Random& random, std::uint64_t end) {
  return random() % end;
}

Bytes encoded(const Record& record, std::uint64_t position = 64);
Bytes encoded(const Leaf& leaf);

// One to three changes of the kind that bad memory, a bad disk or an attacker makes: flipped bits, set bytes,
// a piece cut off or put in.
Bytes damaged(const Bytes& from, Random& random);
// Puts a right hash over changed bytes of a sealed structure, to get behind it.
void reseal(std::span<std::byte> sealed);

}  // namespace coppice::layout_test
