#include "disk/base.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace coppice {

BasePointer Bases::find(BranchId root, const BaseValue& known) const {
  const auto place = bases_.find(root);
  if (place != bases_.end()) return place->second;
  return std::make_shared<Base>(Base{nullptr, known.size_bytes, "was never opened", {}, false});
}

void submit_read(Base& base, BaseRead& read, Latch& latch) {
  const std::uint64_t offset = read.first.value * kBlockBytes;
  const std::uint64_t there = base.size_bytes > offset ? base.size_bytes - offset : 0;
  const std::uint64_t length = std::min<std::uint64_t>(read.into.size(), there);
  std::ranges::fill(read.into.subspan(length), std::byte{0});
  read.request.kind = IoRequest::Kind::kRead;
  read.request.offset_bytes = offset;
  read.request.memory = read.into.data();
  read.request.length_bytes = length;
  read.request.latch = &latch;
  read.request.error = base.file == nullptr && length != 0 ? EIO : 0;
  if (base.file == nullptr || length == 0) return latch.arrive();
  base.file->submit(read.request);
}

Result<> to_result(const BaseRead& read) {
  if (read.request.error == 0) return {};
  return fail(ErrorKind::kIo, read.request.error, "the disk's base can't be read");
}

Task<Result<>> read_base(Base& base, BlockIndex first, std::span<std::byte> into) {
  Latch latch(1);
  BaseRead read{first, into, {}};
  submit_read(base, read, latch);
  co_await latch;
  co_return to_result(read);
}

namespace {

// Blocking.
std::vector<Extent> look_for_holes(BlockFile& file, std::uint64_t offset, std::uint64_t end,
                                   std::size_t max) {
  std::vector<Extent> found;
  while (offset < end && found.size() < max) {
    const std::uint64_t data = file.first_data(offset, end);
    // A block that is data in part is data.
    const bool is_hole = data >= end || round_down(data, kBlockBytes) > offset;
    const std::uint64_t until = is_hole ? (data >= end ? end : round_down(data, kBlockBytes))
                                        : round_up(file.first_hole(data, end), kBlockBytes);
    // A file that shrinks meanwhile must not hold this up.
    const std::uint64_t reached = std::min(end, std::max(until, offset + 1));
    found.push_back({offset, reached - offset, !is_hole});
    offset = reached;
  }
  return found;
}

// One thread looks for all, and reads of the map wait behind it: it is given so much at a time. An image of
// small clusters has thousands of tables in that.
constexpr std::uint64_t kLookedThroughAtOnce = std::uint64_t{4} << 30;

void append_joined(const std::vector<Extent>& more, std::vector<Extent>& into) {
  for (const Extent& extent : more) {
    if (!into.empty() && into.back().allocated == extent.allocated) {
      into.back().length_bytes += extent.length_bytes;
    } else {
      into.push_back(extent);
    }
  }
}

}  // namespace

Task<std::vector<Extent>> base_extents(Scheduler& scheduler, Base& base, std::uint64_t offset_bytes,
                                       std::uint64_t end_bytes, std::size_t max) {
  std::vector<Extent> found;
  if (base.file == nullptr) {
    found.push_back({offset_bytes, end_bytes - offset_bytes, true});
    co_return found;
  }
  BlockFile& file = *base.file;
  // One more than is asked for: until then the last may go on.
  while (offset_bytes < end_bytes && found.size() <= max) {
    const std::uint64_t until = std::min(end_bytes, offset_bytes + kLookedThroughAtOnce);
    const auto piece = co_await in_background(scheduler, [&file, offset_bytes, until, max] {
      return look_for_holes(file, offset_bytes, until, max + 1);
    });
    append_joined(piece, found);
    offset_bytes = found.back().offset_bytes + found.back().length_bytes;
  }
  if (found.size() > max) found.resize(max);
  co_return found;
}

}  // namespace coppice
