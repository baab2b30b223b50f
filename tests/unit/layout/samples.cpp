#include "samples.h"

#include <array>
#include <cstring>

#include "base/hash.h"
#include "layout/meta_batch.h"

namespace coppice::layout_test {

Uuid sample_uuid(std::uint8_t first) {
  Uuid uuid;
  for (std::uint8_t i = 0; i < 16; ++i) uuid.bytes[i] = static_cast<std::uint8_t>(first + i);
  return uuid;
}

Superblock sample_superblock() {
  return {.store = sample_uuid(0x10),
          .metadata = sample_uuid(0x30),
          .compat = 0x0102030405060708,
          .ro_compat = 0,
          .generation = 1001,
          .open_generation = 17,
          .member = 0,
          .member_count = 2,
          .clean = true,
          .grows = true,
          .journal_offset_bytes = kSuperblockAreaBytes,
          .journal_bytes = 64u << 20,
          .slabs_offset_bytes = kSuperblockAreaBytes + (64u << 20),
          .slab_blocks = kDefaultSlabBlocks,
          .slab_count = 3,
          .max_slabs = 0,
          .journal_tail_sequence = 99,
          .created_unix_ms = 1'700'000'000'123,
          .meta_copy = {}};
}

MetaCopyPlace sample_meta_copy() {
  return {.base = PhysicalBlock::of(0, 123'456),
          .log = PhysicalBlock::of(1, 99),
          .log_first = 4,
          .log_sequence = 77,
          .mark = {.segment = 5, .block = 9, .sequence = 80, .hash = 0x0123456789abcdef, .applied = 41}};
}

MetaSegment sample_meta_segment() {
  return {.store = sample_uuid(0x10),
          .chain = 65'537,
          .number = 5,
          .previous = PhysicalBlock::of(0, 4711),
          .runs = {{PhysicalBlock::of(1, 99), 60}, {PhysicalBlock::of(0, 77'777), 4}}};
}

Bytes sample_meta_frame() {
  MetaBatch batch;
  batch.put(Family::kMeta, "disk/0000000000000001", "vm");
  batch.erase(Family::kLeaf, "gone");
  const auto payload = batch.encoded();
  Bytes frame(kBlockBytes);
  std::memcpy(frame.data() + kMetaFrameHeaderBytes, payload.data(), payload.size());
  seal_meta_frame({.chain = 65'537,
                   .sequence = 81,
                   .previous_hash = 0x0123456789abcdef,
                   .payload_bytes = static_cast<std::uint32_t>(payload.size()),
                   .flags = MetaFrame::kEnd,
                   .payload_hash = 0,
                   .applied = 42},
                  PhysicalBlock::of(1, 108), frame);
  return frame;
}

SlabHeader sample_slab_header() {
  return {.store = sample_uuid(0x10), .member = 1, .slab = 2, .slab_blocks = kDefaultSlabBlocks};
}

Leaf sample_leaf() {
  Leaf leaf;
  leaf.map(0, 8, PhysicalBlock::of(0, 1'000'000), Epoch{40});
  leaf.map(8, 1, PhysicalBlock::of(0, 900'000), Epoch{41});
  leaf.zero(9, 3, Epoch{40});
  leaf.map(20, 1, PhysicalBlock::of(1, 17), Epoch{5000});
  leaf.zero(63, 1, Epoch{41});
  return leaf;
}

MapRecord sample_map() {
  return {.branch = {3},
          .epoch = {41},
          .first = {1'000'001},
          .count = 3,
          .physical = PhysicalBlock::of(0, 123'456),
          .checksums = {0x11111111, 0x22222222, 0x33333333},
          .freed = {{PhysicalBlock::of(0, 77'777), 2}, {PhysicalBlock::of(1, 99), 1}}};
}

MapRecord sample_zero_map() {
  return {.branch = {3},
          .epoch = {41},
          .first = {0},
          .count = 1u << 28,
          .physical = {},
          .checksums = {},
          .freed = {}};
}

MapRecord sample_zero_over_base() {
  MapRecord record = sample_zero_map();
  record.count = 192;
  record.freed = {{PhysicalBlock::of(0, 77'777), 2}};
  record.over_base = true;
  return record;
}

BaseValue sample_base() {
  return {.size_bytes = (10ull << 30) + 512,
          .is_device = false,
          .inode = 123'456,
          .changed_ns = 1'700'000'000'123'456'789,
          .samples = 0x0123456789abcdef,
          .flattening = true,
          .path = "/images/debian.raw"};
}

ChecksumRecord sample_checksum() {
  return {.first = PhysicalBlock::of(0, 123'456), .checksums = {0xdeadbeef, 0x01020304}};
}

MetaRecord sample_meta() {
  return {
      .edits = {{.key = disk_key({1}), .value = encode(DiskValue{.name = "vm", .head = {2}}), .erase = false},
                {.key = node_key({9}), .value = {}, .erase = true}}};
}

ReclaimRecord sample_reclaim() {
  return {.versions = {{{3}, {15'625}, {40}, 0xff}, {{3}, {15'626}, {40}, ~std::uint64_t{0}}},
          .freed = {{PhysicalBlock::of(0, 77'777), 72}},
          .edits = {{.key = node_key({9}), .value = "x", .erase = false}}};
}

NodeValue sample_node() {
  return {.state = NodeState::kSnapshot,
          .parent = {1},
          .disk = {4},
          .branch = {3},
          .epoch = {40},
          .size_bytes = 10ull << 30,
          .created_unix_ms = 1'700'000'000'123,
          .name = "monday",
          .note = "before the upgrade",
          .cursor = {12}};
}

NodeValue sample_node_with_policies() {
  NodeValue node = sample_node();
  node.expires_unix_ms = 1'700'086'400'000;
  node.scheduled = true;
  node.holds = {"audit", "nightly"};
  return node;
}

NodeValue sample_node_of_a_group() {
  NodeValue node = sample_node_with_policies();
  node.group = {{2}, 3};
  return node;
}

Bytes sample_batch() {
  Bytes payload = encoded(sample_map(), 640);
  encode_record(sample_checksum(), 640 + payload.size(), kStamp, payload);
  Bytes batch(batch_bytes(payload.size()));
  std::memcpy(batch.data() + kBatchHeaderBytes, payload.data(), payload.size());
  seal_batch({.store = sample_uuid(0x10),
              .sequence = 42,
              .previous_hash = 0x0123456789abcdef,
              .durable_sequence = 41,
              .first_position = 640,
              .payload_bytes = payload.size()},
             batch);
  return batch;
}

std::string random_text(Random& random, std::size_t max_bytes) {
  std::string text(below(random, max_bytes + 1), ' ');
  for (char& byte : text) byte = static_cast<char>(random());
  return text;
}

namespace {

std::vector<std::uint32_t> random_checksums(Random& random, std::uint64_t count) {
  std::vector<std::uint32_t> checksums(count);
  for (std::uint32_t& checksum : checksums) checksum = static_cast<std::uint32_t>(random());
  return checksums;
}

PhysicalBlock random_physical(Random& random) {
  return PhysicalBlock::of(below(random, 3), 1 + below(random, std::uint64_t{1} << 39));
}

std::vector<PhysicalRun> random_runs(Random& random) {
  std::vector<PhysicalRun> runs(below(random, 5));
  for (PhysicalRun& run : runs) run = {random_physical(random), 1 + below(random, 1000)};
  return runs;
}

std::vector<MetaEdit> random_edits(Random& random) {
  std::vector<MetaEdit> edits(below(random, 4));
  for (MetaEdit& edit : edits) {
    edit = {.key = random_text(random, 30), .value = {}, .erase = random() % 4 == 0};
    if (!edit.erase) edit.value = random_text(random, 300);
  }
  return edits;
}

MapRecord random_map(Random& random) {
  const bool zero = random() % 4 == 0;
  const std::uint64_t count = 1 + below(random, zero ? std::uint64_t{1} << 40 : 300);
  return {.branch = {random()},
          .epoch = {random() >> 4},
          .first = {below(random, std::uint64_t{1} << 41)},
          .count = count,
          .physical = zero ? PhysicalBlock{} : random_physical(random),
          .checksums = zero ? std::vector<std::uint32_t>{} : random_checksums(random, count),
          .freed = random_runs(random),
          .over_base = zero && random() % 2 == 0};
}

ReclaimRecord random_reclaim(Random& random) {
  ReclaimRecord record{.versions = {}, .freed = random_runs(random), .edits = random_edits(random)};
  record.versions.resize(below(random, 6));
  for (auto& version : record.versions) version = {{random()}, {random()}, {random()}, random()};
  return record;
}

}  // namespace

Record random_record(Random& random) {
  switch (below(random, 4)) {
    case 0:
      return random_map(random);
    case 1:
      return ChecksumRecord{random_physical(random), random_checksums(random, 1 + below(random, 300)),
                            static_cast<std::uint32_t>(random())};
    case 2:
      return MetaRecord{random_edits(random)};
    default:
      return random_reclaim(random);
  }
}

Bytes encoded(const Record& record, std::uint64_t position) {
  Bytes bytes;
  encode_record(record, position, kStamp, bytes);
  return bytes;
}

Bytes encoded(const Leaf& leaf) {
  std::array<std::byte, Leaf::kMostEncodedBytes> room;
  const auto bytes = leaf.encode(room);
  return {bytes.begin(), bytes.end()};
}

Bytes damaged(const Bytes& from, Random& random) {
  Bytes bytes = from;
  for (std::uint64_t changes = 1 + below(random, 3); changes > 0; --changes) {
    const auto at = static_cast<std::ptrdiff_t>(below(random, bytes.size() + 1));
    const bool inside = at < static_cast<std::ptrdiff_t>(bytes.size());
    switch (below(random, 6)) {
      case 0:
        bytes.resize(static_cast<std::size_t>(at));
        break;
      case 1:
        bytes.insert(bytes.begin() + at, static_cast<std::byte>(random()));
        break;
      case 2:
        if (inside) bytes.erase(bytes.begin() + at);
        break;
      case 3:
        if (inside) bytes[static_cast<std::size_t>(at)] = random() % 2 ? std::byte{0} : std::byte{0xff};
        break;
      default:
        if (inside) bytes[static_cast<std::size_t>(at)] ^= static_cast<std::byte>(1u << random() % 8);
    }
  }
  bytes.shrink_to_fit();  // so that a sanitizer sees the first byte read behind the end
  return bytes;
}

void reseal(std::span<std::byte> sealed) {
  std::uint64_t magic = 0;
  std::memcpy(&magic, sealed.data(), sizeof magic);
  const std::uint64_t hash = hash64(sealed.subspan(16), magic);
  std::memcpy(sealed.data() + 8, &hash, sizeof hash);
}

}  // namespace coppice::layout_test
