// What reaches disk is frozen: each sample's bytes stand in tests/golden/layout/. A difference is a change of
// the format, and needs a new format version, not a new file. COPPICE_GOLDEN_UPDATE=1 writes the files; that
// is for structures that are new.
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "layout/page.h"
#include "samples.h"

using namespace coppice;
using namespace coppice::layout_test;

namespace {

// Sixteen bytes a line; lines of zeroes are left out, the size stands at the end.
std::string hex_text(std::span<const std::byte> bytes) {
  std::string text;
  char piece[16];
  for (std::size_t line = 0; line < bytes.size(); line += 16) {
    std::snprintf(piece, sizeof piece, "%04zx:", line);
    std::string row = piece;
    bool any = false;
    for (std::size_t i = line; i < std::min(line + 16, bytes.size()); ++i) {
      std::snprintf(piece, sizeof piece, " %02x", static_cast<unsigned>(bytes[i]));
      row += piece;
      any |= bytes[i] != std::byte{0};
    }
    if (any) text += row + "\n";
  }
  std::snprintf(piece, sizeof piece, "size %zu\n", bytes.size());
  return text + piece;
}

void check_golden(const std::string& name, std::span<const std::byte> bytes) {
  const std::string path = std::string(COPPICE_GOLDEN_LAYOUT) + "/" + name + ".hex";
  const std::string text = hex_text(bytes);
  if (std::getenv("COPPICE_GOLDEN_UPDATE") != nullptr) std::ofstream(path) << text;
  std::ifstream file(path);
  std::stringstream frozen;
  frozen << file.rdbuf();
  INFO(path);
  CHECK(text == frozen.str());
}

void check_golden(const std::string& name, const std::string& bytes) {
  check_golden(name, std::as_bytes(std::span(bytes)));
}

}  // namespace

TEST_CASE("golden: superblock and slab") {
  Bytes block(kBlockBytes);
  const std::span<std::byte, kBlockBytes> room(block.data(), kBlockBytes);
  encode_superblock(sample_superblock(), room);
  check_golden("superblock", block);
  encode_slab_header(sample_slab_header(), room);
  check_golden("slab_header", block);
}

TEST_CASE("golden: the copy of the metadata") {
  Bytes block(kBlockBytes);
  const std::span<std::byte, kBlockBytes> into(block.data(), kBlockBytes);
  Superblock superblock = sample_superblock();
  superblock.ro_compat = kRoCompatMetaCopy;
  superblock.meta_copy = sample_meta_copy();
  encode_superblock(superblock, into);
  check_golden("superblock_meta_copy", block);
  CHECK(decode_superblock(into) == superblock);
  encode_meta_segment(sample_meta_segment(), into);
  check_golden("meta_segment", block);
  check_golden("meta_frame", sample_meta_frame());
}

TEST_CASE("golden: page") {
  Bytes block(kBlockBytes);
  const PageBytes page(block.data(), kBlockBytes);
  page_content(page)[0] = std::byte{0xaa};
  page_content(page)[kPageContentBytes - 1] = std::byte{0x55};
  seal_page(page, 7, PhysicalBlock::of(1, 1027));
  check_golden("page", block);
}

TEST_CASE("golden: batch and records") {
  check_golden("batch", sample_batch());
  check_golden("record_map", encoded(sample_map()));
  check_golden("record_map_zero", encoded(sample_zero_map()));
  check_golden("record_zero_over_base", encoded(sample_zero_over_base()));
  check_golden("record_checksum", encoded(sample_checksum()));
  check_golden("record_meta", encoded(sample_meta()));
  check_golden("record_reclaim", encoded(sample_reclaim()));
  Bytes padding;
  encode_padding(40, 64, kStamp, padding);
  check_golden("record_padding", padding);
}

TEST_CASE("golden: leaf") {
  check_golden("leaf", encoded(sample_leaf()));
  check_golden("leaf_empty", encoded(Leaf{}));
}

TEST_CASE("golden: keys and masks") {
  check_golden("key_leaf", std::string(encode_key(LeafKey{{3}, {15'625}, {40}})));
  check_golden("key_change", std::string(encode_key(ChangeKey{{3}, {40}, {15'625}})));
  check_golden("mask", encode_mask(0x8000000000000001));
  CHECK(branch_key({0x1f}) == "branch/000000000000001f");
  CHECK(node_key({~std::uint64_t{0}}) == "node/ffffffffffffffff");
  CHECK(disk_key({10}) == "disk/000000000000000a");
}

TEST_CASE("golden: values of the tree") {
  check_golden("value_branch", encode(BranchValue{{2}, {30}, {41}}));
  check_golden("value_node", encode(sample_node()));
  check_golden("value_node_policies", encode(sample_node_with_policies()));
  check_golden("value_node_group", encode(sample_node_of_a_group()));
  check_golden("value_disk", encode(DiskValue{"vm", {2}, 1'700'000'000'123}));
  check_golden("value_disk_strict", encode(DiskValue{"vm", {2}, 1'700'000'000'123, kDiskStrict}));
  check_golden("value_trash", encode(TrashValue{1'700'000'000'123}));
  check_golden("value_schedule", encode(ScheduleValue{24, 7, 4, 12, 1'700'000'000'123}));
  const AttachmentValue fenced{7, AttachmentState::kFenced, sample_uuid(0x50), 1'700'000'000'123, "a"};
  const AttachmentValue active{8, AttachmentState::kActive, sample_uuid(0x70), 1'700'000'000'456, ""};
  check_golden("value_attachments", encode(AttachmentsValue{9, {fenced, active}}));
  check_golden("value_base", encode(sample_base()));
  BaseValue qcow2 = sample_base();
  qcow2.format = BaseFormat::kQcow2;
  check_golden("value_base_qcow2", encode(qcow2));
  check_golden("value_bookmark",
               encode(BookmarkValue{{5}, {3}, {40}, std::uint64_t{1} << 30, 1'700'000'000'123, "monday"}));
  check_golden("value_quota", encode(QuotaValue{std::uint64_t{10} << 30}));
  check_golden("value_counters", encode(CountersValue{{42}, {4}, {10}, {5}}));
  check_golden("value_applied", encode(AppliedValue{41, 0x0123456789abcdef, 8192, 640}));
  check_golden("value_store", encode(StoreValue{sample_uuid(0x10), sample_uuid(0x30)}));
}
