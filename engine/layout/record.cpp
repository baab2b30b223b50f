#include "layout/record.h"

#include <algorithm>
#include <cassert>

#include "base/hash.h"
#include "layout/record_body.h"
#include "layout/wire_struct.h"

namespace coppice {

namespace {

struct WireRecordHeader {
  std::uint32_t length;
  std::uint16_t type;
  std::uint16_t flags;
  std::uint64_t position;
};
static_assert(WireStruct<WireRecordHeader> && sizeof(WireRecordHeader) == kRecordHeaderBytes);
static_assert(offsetof(WireRecordHeader, type) == 4 && offsetof(WireRecordHeader, position) == 8);

constexpr std::size_t kFrameBytes = kRecordHeaderBytes + kRecordTrailerBytes;

RecordType type_of(const MapRecord& record) {
  return record.over_base ? RecordType::kZero : RecordType::kMap;
}
RecordType type_of(const ChecksumRecord&) {
  return RecordType::kChecksum;
}
RecordType type_of(const MetaRecord&) {
  return RecordType::kMeta;
}
RecordType type_of(const ReclaimRecord&) {
  return RecordType::kReclaim;
}

// Pads what was appended since `start` to its length and ends it with the hash.
void finish_record(std::size_t start, std::size_t length, std::uint64_t stamp, std::vector<std::byte>& into) {
  into.resize(start + length - kRecordTrailerBytes);
  const std::uint64_t hash = hash64(std::span(into).subspan(start), stamp);
  append_struct(hash, into);
}

void begin_record(RecordType type, std::size_t length, std::uint64_t position, std::vector<std::byte>& into) {
  append_struct(WireRecordHeader{.length = static_cast<std::uint32_t>(length),
                                 .type = static_cast<std::uint16_t>(type),
                                 .flags = 0,
                                 .position = position},
                into);
}

template <class T>
Result<Record> decode_as(std::span<const std::byte> body) {
  T record;
  if (!decode_body(body, record)) return fail(ErrorKind::kCorrupt, 0, "damaged journal record");
  return Record{std::move(record)};
}

// The body is that of a map record.
Result<Record> decode_zero(std::span<const std::byte> body) {
  MapRecord record;
  if (!decode_body(body, record) || record.physical.value != 0)
    return fail(ErrorKind::kCorrupt, 0, "damaged journal record");
  record.over_base = true;
  return Record{std::move(record)};
}

}  // namespace

std::size_t encoded_bytes(const Record& record) {
  const std::size_t body = std::visit([](const auto& what) { return body_bytes(what); }, record);
  return round_up(kFrameBytes + body, 8);
}

void encode_record(const Record& record, std::uint64_t position, std::uint64_t stamp,
                   std::vector<std::byte>& into) {
  const std::size_t start = into.size();
  const std::size_t length = encoded_bytes(record);
  // Twice as much at least: exact growth would copy a long stream for each record.
  if (into.capacity() - start < length) into.reserve(std::max(start + length, 2 * into.capacity()));
  std::visit(
      [&](const auto& what) {
        begin_record(type_of(what), length, position, into);
        encode_body(what, into);
      },
      record);
  assert(into.size() - start + kRecordTrailerBytes <= length);
  finish_record(start, length, stamp, into);
}

void encode_padding(std::size_t bytes, std::uint64_t position, std::uint64_t stamp,
                    std::vector<std::byte>& into) {
  assert(bytes % 8 == 0 && bytes >= kFrameBytes);
  const std::size_t start = into.size();
  begin_record(RecordType::kPadding, bytes, position, into);
  finish_record(start, bytes, stamp, into);
}

Result<RecordView> peek_record(std::span<const std::byte> from) {
  if (from.size() < kFrameBytes) return fail(ErrorKind::kCorrupt, 0, "journal record cut short");
  const auto header = load_struct<WireRecordHeader>(from);
  if (header.length < kFrameBytes || header.length % 8 != 0 || header.length > from.size() ||
      header.flags != 0)
    return fail(ErrorKind::kCorrupt, 0, "no journal record here");
  return RecordView{.type = static_cast<RecordType>(header.type),
                    .position = header.position,
                    .length = header.length,
                    .body = from.subspan(kRecordHeaderBytes, header.length - kFrameBytes)};
}

Result<RecordView> verify_record(std::span<const std::byte> from, std::uint64_t stamp) {
  const auto view = peek_record(from);
  if (!view) return view;
  const std::size_t hashed = view->length - kRecordTrailerBytes;
  if (load_struct<std::uint64_t>(from.subspan(hashed)) != hash64(from.first(hashed), stamp))
    return fail(ErrorKind::kCorrupt, 0, "damaged journal record");
  return view;
}

Result<Record> decode_record(const RecordView& view) {
  switch (view.type) {
    case RecordType::kMap:
      return decode_as<MapRecord>(view.body);
    case RecordType::kChecksum:
      return decode_as<ChecksumRecord>(view.body);
    case RecordType::kMeta:
      return decode_as<MetaRecord>(view.body);
    case RecordType::kReclaim:
      return decode_as<ReclaimRecord>(view.body);
    case RecordType::kZero:
      return decode_zero(view.body);
    case RecordType::kPadding:
      break;
  }
  return fail(ErrorKind::kCorrupt, 0, "journal record of an unknown kind");
}

}  // namespace coppice
