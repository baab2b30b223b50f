#include "disk/fill.h"

#include <algorithm>

#include "coppice/aligned_buffer.h"
#include "disk/base.h"
#include "disk/held_range.h"
#include "disk/leaf_pins.h"
#include "disk/write_path.h"

namespace coppice {

namespace {

std::uint64_t hole_mask(const Leaf& leaf, unsigned end) {
  std::uint64_t mask = 0;
  for (unsigned index = 0; index < end;) {
    const LeafRun run = leaf.run_at(index);
    const unsigned until = std::min(run.end(), end);
    if (run.kind == LeafRun::Kind::kHole) mask |= leaf_mask(index, until - index);
    index = until;
  }
  return mask;
}

bool all_zero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte each) { return each == std::byte{0}; });
}

struct Part {
  unsigned first = 0;
  unsigned count = 0;
};

// The holes that show something, in stretches.
std::vector<Part> parts_of(std::uint64_t holes, std::span<const std::byte> content) {
  std::vector<Part> parts;
  for (unsigned index = 0; index < kLeafBlocks; ++index) {
    if (!(holes >> index & 1) || all_zero(content.subspan(index * kBlockBytes, kBlockBytes))) continue;
    if (!parts.empty() && parts.back().first + parts.back().count == index) {
      ++parts.back().count;
    } else {
      parts.push_back({index, 1});
    }
  }
  return parts;
}

}  // namespace

Task<Result<std::uint64_t>> fill_from_base(Parts& parts, Head& head, LeafIndex index, BlockIndex disk_end) {
  const BasePointer base = parts.bases.under(head.branch);
  const BlockIndex start = first_block(index);
  const BlockIndex shown_end = base ? std::min(base->end(), disk_end) : start;
  if (start >= shown_end) co_return std::uint64_t{0};
  const auto end = static_cast<unsigned>(std::min<std::uint64_t>(kLeafBlocks, shown_end.value - start.value));
  // Held while the base is read: what others write meanwhile is not overwritten with what was there before.
  HeldRange held(head);
  co_await held.acquire(first_block(index), kLeafBlocks);
  const View view = head.view(parts);
  auto leaf = co_await parts.map.load(view, index);
  if (!leaf) co_return std::unexpected(leaf.error());
  const std::uint64_t holes = hole_mask((*leaf)->leaf, end);
  parts.map.unpin(*leaf);
  if (holes == 0) co_return std::uint64_t{0};
  AlignedBuffer buffer(kLeafBlocks * kBlockBytes);
  const auto shown = buffer.first(end * kBlockBytes);
  auto read = co_await read_base(*base, start, shown);
  if (!read) co_return std::unexpected(read.error());
  std::uint64_t filled = 0;
  for (const Part& part : parts_of(holes, buffer.span())) {
    const BlockIndex first = start.next(part.first);
    const std::span<const std::byte> data =
        buffer.span().subspan(part.first * kBlockBytes, part.count * kBlockBytes);
    auto written = co_await write_locked(parts, head, held.entry, first, data);
    if (!written) co_return written;
    filled += part.count;
  }
  co_return filled;
}

}  // namespace coppice
