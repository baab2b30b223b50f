// The encoded form of a leaf; FORMAT.md has the grammar.
#include <algorithm>
#include <cassert>

#include "base/wire.h"
#include "layout/leaf.h"
#include "layout/wire_struct.h"

namespace coppice {

namespace {

constexpr std::uint8_t kLeafFormat = 1;
// The low bits of a run's head; the birth, as a distance from the leaf's lowest one, stands above them.
constexpr std::uint64_t kHeadZero = 1;
constexpr std::uint64_t kHeadLength = 2;
constexpr std::uint64_t kHeadGap = 4;
constexpr unsigned kHeadBits = 3;

// Small distances in both directions become small numbers. Defined for all 2^64 of them.
constexpr std::uint64_t zigzag(std::uint64_t difference) {
  return (difference << 1) ^ (0 - (difference >> 63));
}
constexpr std::uint64_t unzigzag(std::uint64_t value) {
  return (value >> 1) ^ (0 - (value & 1));
}
static_assert(unzigzag(zigzag(0 - std::uint64_t{5})) == 0 - std::uint64_t{5} && zigzag(1) == 2);

Epoch lowest_birth(std::span<const LeafRun> runs) {
  return std::ranges::min(runs, {}, &LeafRun::birth).birth;
}

// Where the reader stands between two runs.
struct Cursor {
  unsigned index = 0;          // behind the previous run
  std::uint64_t physical = 0;  // behind the previous data run
};

std::byte* encode_run(const LeafRun& run, Epoch base, Cursor& cursor, std::byte* at) {
  const unsigned gap = run.first - cursor.index;
  const bool data = run.kind == LeafRun::Kind::kData;
  assert((run.birth.value - base.value) >> (64 - kHeadBits) == 0);
  at = put_varint(at, (run.birth.value - base.value) << kHeadBits | (gap > 0 ? kHeadGap : 0) |
                          (run.count > 1 ? kHeadLength : 0) | (data ? 0 : kHeadZero));
  if (gap > 0) *at++ = static_cast<std::byte>(gap);
  if (run.count > 1) *at++ = static_cast<std::byte>(run.count);
  cursor.index = run.end();
  if (!data) return at;
  at = put_varint(at, zigzag(run.physical.value - cursor.physical));
  cursor.physical = run.physical.value + run.count;
  return at;
}

// False: no encoder wrote this.
bool decode_run(Reader& in, Epoch base, Cursor& cursor, LeafRun& run) {
  const std::uint64_t head = in.varint();
  const std::uint64_t distance = head >> kHeadBits;
  const unsigned gap = (head & kHeadGap) ? in.u8() : 0;
  const unsigned count = (head & kHeadLength) ? in.u8() : 1;
  if (!in.ok() || ((head & kHeadGap) && gap == 0) || ((head & kHeadLength) && count < 2)) return false;
  if (cursor.index + gap + count > kLeafBlocks) return false;
  // What is above could not be encoded together with a birth of today.
  if (base.value >= kEpochEnd || distance >= kEpochEnd - base.value) return false;
  run.first = static_cast<std::uint8_t>(cursor.index + gap);
  run.count = static_cast<std::uint8_t>(count);
  run.kind = (head & kHeadZero) ? LeafRun::Kind::kZero : LeafRun::Kind::kData;
  run.birth = Epoch{base.value + distance};
  cursor.index = run.end();
  if (run.kind == LeafRun::Kind::kZero) return true;
  run.physical = PhysicalBlock{cursor.physical + unzigzag(in.varint())};
  cursor.physical = run.physical.value + run.count;
  return in.ok() && is_data_run(run.physical, run.count);
}

}  // namespace

std::span<const std::byte> Leaf::encode(std::span<std::byte, kMostEncodedBytes> room) const {
  static_assert(kMostEncodedBytes == 2 + kMostVarintBytes + kLeafBlocks * (2 * kMostVarintBytes + 2));
  std::byte* at = room.data();
  *at++ = static_cast<std::byte>(kLeafFormat);
  *at++ = static_cast<std::byte>(runs_.size());
  if (!runs_.empty()) {
    const Epoch base = lowest_birth(runs_.all());
    at = put_varint(at, base.value);
    Cursor cursor;
    for (const LeafRun& run : runs_.all()) at = encode_run(run, base, cursor, at);
  }
  return room.first(static_cast<std::size_t>(at - room.data()));
}

Result<Leaf> Leaf::decode(std::span<const std::byte> from) {
  static constexpr const char* kText = "damaged map entry";
  Reader in(from);
  if (in.u8() != kLeafFormat) return fail(ErrorKind::kCorrupt, 0, kText);
  const std::size_t count = in.u8();
  if (count > kLeafBlocks) return fail(ErrorKind::kCorrupt, 0, kText);
  const Epoch base{count > 0 ? in.varint() : 0};
  Leaf leaf;
  leaf.runs_.reserve(count);
  Cursor cursor;
  for (std::size_t i = 0; i < count; ++i) {
    LeafRun run;
    if (!decode_run(in, base, cursor, run)) return fail(ErrorKind::kCorrupt, 0, kText);
    if (i > 0 && continues(leaf.runs_[i - 1], run)) return fail(ErrorKind::kCorrupt, 0, kText);
    leaf.runs_.push_back(run);
  }
  if (!in.ok() || !in.done()) return fail(ErrorKind::kCorrupt, 0, kText);
  if (count > 0 && lowest_birth(leaf.runs_.all()) != base) return fail(ErrorKind::kCorrupt, 0, kText);
  return leaf;
}

}  // namespace coppice
