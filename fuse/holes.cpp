#include "fuse/holes.h"

#include <algorithm>
#include <cerrno>
#include <vector>

namespace coppice::fuse {

namespace {

// 4,096 leaves of the map.
constexpr std::uint64_t kSearchBytes = std::uint64_t{1} << 30;

std::uint64_t end_of(std::span<const Extent> extents) {
  return extents.back().offset_bytes + extents.back().length_bytes;
}

}  // namespace

std::optional<std::uint64_t> first_of_kind(std::span<const Extent> extents, Seek what) {
  const auto found = std::ranges::find(extents, what == Seek::kData, &Extent::allocated);
  if (found == extents.end()) return std::nullopt;
  return found->offset_bytes;
}

Task<Result<std::uint64_t>> seek(BlockDevice& device, std::uint64_t from_bytes, Seek what) {
  const std::uint64_t size_bytes = device.size_bytes();
  std::vector<Extent> extents;
  while (from_bytes < size_bytes) {
    extents.clear();
    const std::uint64_t length = std::min(kSearchBytes, size_bytes - from_bytes);
    const Result<> listed = co_await device.extents(from_bytes, length, 2, extents);
    if (!listed) co_return std::unexpected(listed.error());
    if (const auto found = first_of_kind(extents, what)) co_return *found;
    from_bytes = end_of(extents);
    if (from_bytes >= size_bytes && what == Seek::kHole) co_return size_bytes;
  }
  co_return fail(ErrorKind::kNotFound, ENXIO, "no more of it up to the end of the file");
}

}  // namespace coppice::fuse
