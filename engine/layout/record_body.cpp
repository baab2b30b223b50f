#include "layout/record_body.h"

#include <cassert>

#include "base/wire.h"
#include "layout/wire_struct.h"

namespace coppice {

namespace {

struct WireMap {
  std::uint64_t branch;
  std::uint64_t epoch;
  std::uint64_t first;
  std::uint64_t count;
  std::uint64_t physical;
  std::uint32_t freed_count;
  std::uint32_t superseded_count;
};
static_assert(WireStruct<WireMap> && sizeof(WireMap) == 48 && offsetof(WireMap, freed_count) == 40);

struct WireChecksum {
  std::uint64_t first;
  std::uint32_t count;
  std::uint32_t epoch_tag;
};
static_assert(WireStruct<WireChecksum> && sizeof(WireChecksum) == 16);

struct WireReclaim {
  std::uint32_t version_count;
  std::uint32_t freed_count;
};
static_assert(WireStruct<WireReclaim> && sizeof(WireReclaim) == 8);

// Arrays reach disk as they stand in memory.
static_assert(WireStruct<PhysicalRun> && sizeof(PhysicalRun) == 16);
static_assert(WireStruct<ReclaimedVersion> && sizeof(ReclaimedVersion) == 32 &&
              offsetof(ReclaimedVersion, leaf) == 8 && offsetof(ReclaimedVersion, version) == 16 &&
              offsetof(ReclaimedVersion, mask) == 24);

template <WireStruct T>
void append_array(const std::vector<T>& values, std::vector<std::byte>& into) {
  const auto bytes = std::as_bytes(std::span(values));
  into.insert(into.end(), bytes.begin(), bytes.end());
}

// The count is checked against what is there before anything is allocated.
template <WireStruct T>
bool take_array(Reader& in, std::uint64_t count, std::vector<T>& into) {
  if (count > in.remaining() / sizeof(T)) return false;
  const auto bytes = in.bytes(count * sizeof(T));
  into.resize(count);
  if (count > 0) std::memcpy(into.data(), bytes.data(), bytes.size());
  return true;
}

template <WireStruct T>
bool take_struct(Reader& in, T& into) {
  const auto bytes = in.bytes(sizeof(T));
  if (!in.ok()) return false;
  into = load_struct<T>(bytes);
  return true;
}

bool take_freed(Reader& in, std::uint64_t count, std::vector<PhysicalRun>& into) {
  if (!take_array(in, count, into)) return false;
  for (const PhysicalRun& run : into)
    if (!is_data_run(run.first, run.count)) return false;
  return true;
}

// Padding to the next multiple of 8 is all that may follow.
bool only_padding(Reader& in) {
  if (in.remaining() >= 8) return false;
  while (!in.done())
    if (in.u8() != 0) return false;
  return in.ok();
}

constexpr std::uint8_t kPut = 0;
constexpr std::uint8_t kErase = 1;
constexpr std::size_t kMinEditBytes = 2;  // its kind and an empty key

std::size_t varint_bytes(std::uint64_t value) {
  std::size_t bytes = 1;
  while (value >>= 7) ++bytes;
  return bytes;
}

std::size_t text_bytes(const std::string& text) {
  return varint_bytes(text.size()) + text.size();
}

std::size_t edits_bytes(const std::vector<MetaEdit>& edits) {
  std::size_t bytes = sizeof(std::uint32_t);
  for (const MetaEdit& edit : edits)
    bytes += 1 + text_bytes(edit.key) + (edit.erase ? 0 : text_bytes(edit.value));
  return bytes;
}

void append_edits(const std::vector<MetaEdit>& edits, std::vector<std::byte>& into) {
  Writer out(into);
  out.u32(static_cast<std::uint32_t>(edits.size()));
  for (const MetaEdit& edit : edits) {
    assert(!edit.erase || edit.value.empty());
    out.u8(edit.erase ? kErase : kPut);
    out.text(edit.key);
    if (!edit.erase) out.text(edit.value);
  }
}

bool take_edits(Reader& in, std::vector<MetaEdit>& into) {
  const std::uint32_t count = in.u32();
  if (!in.ok() || count > in.remaining() / kMinEditBytes) return false;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint8_t kind = in.u8();
    if (kind > kErase) return false;
    MetaEdit edit{.key = in.text(), .value = {}, .erase = kind == kErase};
    if (!edit.erase) edit.value = in.text();
    if (!in.ok()) return false;
    into.push_back(std::move(edit));
  }
  return true;
}

}  // namespace

std::size_t body_bytes(const MapRecord& record) {
  return sizeof(WireMap) + record.freed.size() * sizeof(PhysicalRun) +
         record.superseded.size() * sizeof(ReclaimedVersion) +
         record.checksums.size() * sizeof(std::uint32_t);
}
std::size_t body_bytes(const ChecksumRecord& record) {
  return sizeof(WireChecksum) + record.checksums.size() * sizeof(std::uint32_t);
}
std::size_t body_bytes(const MetaRecord& record) {
  return edits_bytes(record.edits);
}
std::size_t body_bytes(const ReclaimRecord& record) {
  return sizeof(WireReclaim) + record.versions.size() * sizeof(ReclaimedVersion) +
         record.freed.size() * sizeof(PhysicalRun) + edits_bytes(record.edits);
}

void encode_body(const MapRecord& record, std::vector<std::byte>& into) {
  assert(record.checksums.size() == (record.physical.value == 0 ? 0 : record.count));
  append_struct(WireMap{.branch = record.branch.value,
                        .epoch = record.epoch.value,
                        .first = record.first.value,
                        .count = record.count,
                        .physical = record.physical.value,
                        .freed_count = static_cast<std::uint32_t>(record.freed.size()),
                        .superseded_count = static_cast<std::uint32_t>(record.superseded.size())},
                into);
  append_array(record.freed, into);
  append_array(record.superseded, into);
  append_array(record.checksums, into);
}

bool decode_body(std::span<const std::byte> body, MapRecord& into) {
  Reader in(body);
  WireMap wire;
  if (!take_struct(in, wire) || wire.epoch >= kEpochEnd) return false;
  const PhysicalBlock physical{wire.physical};
  if (!is_disk_range(BlockIndex{wire.first}, wire.count)) return false;
  if (physical.value != 0 && !is_data_run(physical, wire.count)) return false;
  into.branch = BranchId{wire.branch};
  into.epoch = Epoch{wire.epoch};
  into.first = BlockIndex{wire.first};
  into.count = wire.count;
  into.physical = physical;
  return take_freed(in, wire.freed_count, into.freed) &&
         take_array(in, wire.superseded_count, into.superseded) &&
         take_array(in, physical.value == 0 ? 0 : wire.count, into.checksums) && only_padding(in);
}

void encode_body(const ChecksumRecord& record, std::vector<std::byte>& into) {
  append_struct(WireChecksum{.first = record.first.value,
                             .count = static_cast<std::uint32_t>(record.checksums.size()),
                             .epoch_tag = record.epoch_tag},
                into);
  append_array(record.checksums, into);
}

bool decode_body(std::span<const std::byte> body, ChecksumRecord& into) {
  Reader in(body);
  WireChecksum wire;
  if (!take_struct(in, wire)) return false;
  into.first = PhysicalBlock{wire.first};
  into.epoch_tag = wire.epoch_tag;
  return is_data_run(into.first, wire.count) && take_array(in, wire.count, into.checksums) &&
         only_padding(in);
}

void encode_body(const MetaRecord& record, std::vector<std::byte>& into) {
  append_edits(record.edits, into);
}

bool decode_body(std::span<const std::byte> body, MetaRecord& into) {
  Reader in(body);
  return take_edits(in, into.edits) && only_padding(in);
}

void encode_body(const ReclaimRecord& record, std::vector<std::byte>& into) {
  append_struct(WireReclaim{.version_count = static_cast<std::uint32_t>(record.versions.size()),
                            .freed_count = static_cast<std::uint32_t>(record.freed.size())},
                into);
  append_array(record.versions, into);
  append_array(record.freed, into);
  append_edits(record.edits, into);
}

bool decode_body(std::span<const std::byte> body, ReclaimRecord& into) {
  Reader in(body);
  WireReclaim wire;
  return take_struct(in, wire) && take_array(in, wire.version_count, into.versions) &&
         take_freed(in, wire.freed_count, into.freed) && take_edits(in, into.edits) && only_padding(in);
}

}  // namespace coppice
