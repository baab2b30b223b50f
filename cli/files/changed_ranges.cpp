#include "cli/files/changed_ranges.h"

#include <algorithm>

namespace coppice::cli {
namespace {

std::uint64_t end_of(const ByteRange& range) {
  return range.offset_bytes + range.length_bytes;
}

// Empty where they don't meet.
ByteRange meeting(const ByteRange& one, const ByteRange& other) {
  const std::uint64_t begin = std::max(one.offset_bytes, other.offset_bytes);
  const std::uint64_t end = std::min(end_of(one), end_of(other));
  return {begin, end > begin ? end - begin : 0};
}

}  // namespace

ChangedRanges::ChangedRanges(const std::vector<ByteRange>& disk, const ByteRange& volume) {
  for (const ByteRange& range : disk) {
    const ByteRange inside = meeting(range, volume);
    if (inside.length_bytes != 0)
      ranges_.push_back({inside.offset_bytes - volume.offset_bytes, inside.length_bytes});
  }
}

std::vector<ByteRange> ChangedRanges::within(const ByteRange& range) const {
  std::vector<ByteRange> all;
  auto next = std::ranges::upper_bound(ranges_, range.offset_bytes, {}, end_of);
  for (; next != ranges_.end() && next->offset_bytes < end_of(range); ++next)
    all.push_back(meeting(*next, range));
  return all;
}

}  // namespace coppice::cli
