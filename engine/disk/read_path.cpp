#include "disk/read_path.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory_resource>
#include <vector>

#include "base/hash.h"
#include "base/mutation.h"
#include "disk/base.h"
#include "io/block_file.h"

namespace coppice {

namespace {

struct Piece {
  std::uint64_t offset_blocks;  // into the request
  PhysicalRun run;
  IoRequest request;
  bool pinned = false;  // its checksums
};

std::span<std::byte, kBlockBytes> block_at(std::span<std::byte> memory, std::uint64_t block) {
  return std::span<std::byte, kBlockBytes>(memory.data() + block * kBlockBytes, kBlockBytes);
}

// What a read stands on.
struct Sources {
  explicit Sources(std::pmr::memory_resource* memory) : pieces(memory) {}
  std::pmr::vector<Piece> pieces;
  BasePointer base;  // null: holes are zeroes
  std::vector<BaseRead> from_base;
};

void add_hole(BlockIndex first, std::span<std::byte> into, Sources& sources) {
  if (!sources.base || first >= sources.base->end()) {
    std::ranges::fill(into, std::byte{0});
    return;
  }
  const std::uint64_t shown = (sources.base->end().value - first.value) * kBlockBytes;
  const auto part = into.first(std::min<std::uint64_t>(shown, into.size()));
  std::ranges::fill(into.subspan(part.size()), std::byte{0});
  BaseRead* last = sources.from_base.empty() ? nullptr : &sources.from_base.back();
  const bool continues = last != nullptr && last->into.data() + last->into.size() == part.data();
  if (continues) {
    last->into = {last->into.data(), last->into.size() + part.size()};
  } else {
    sources.from_base.push_back({first, part, {}});
  }
}

// Adds the data runs of a leaf, joined where they continue physically, and what the base shows; zeroes the
// rest.
void add_pieces(const CachedLeaf& cached, unsigned from, unsigned to, std::uint64_t offset_blocks,
                std::span<std::byte> into, Sources& sources) {
  std::pmr::vector<Piece>& pieces = sources.pieces;
  for (unsigned index = from; index < to;) {
    const LeafRun run = cached.leaf.run_at(index);
    const unsigned end = std::min(run.end(), to);
    const unsigned count = end - index;
    if (run.kind == LeafRun::Kind::kZero) {
      std::memset(into.data() + offset_blocks * kBlockBytes, 0, count * kBlockBytes);
    } else if (run.kind == LeafRun::Kind::kHole) {
      add_hole(first_block(cached.index).next(index),
               into.subspan(offset_blocks * kBlockBytes, count * kBlockBytes), sources);
    } else if (!pieces.empty() && pieces.back().run.first.next(pieces.back().run.count) == run.physical &&
               pieces.back().offset_blocks + pieces.back().run.count == offset_blocks) {
      pieces.back().run.count += count;
    } else {
      pieces.push_back({offset_blocks, {run.physical, count}, {}});
    }
    offset_blocks += count;
    index = end;
  }
}

Task<Result<>> look_up(Parts& parts, View view, BlockIndex first, std::span<std::byte> into,
                       Sources& sources) {
  sources.base = parts.bases.under(view.branch);
  const std::uint64_t count = into.size() / kBlockBytes;
  for (std::uint64_t done = 0; done < count;) {
    const BlockIndex block = first.next(done);
    const unsigned from = index_in_leaf(block);
    const auto to = static_cast<unsigned>(std::min<std::uint64_t>(kLeafBlocks, from + (count - done)));
    CachedLeaf* leaf = parts.map.find(view, leaf_of(block));
    if (leaf == nullptr) {
      auto loaded = co_await parts.map.load(view, leaf_of(block));
      if (!loaded) co_return std::unexpected(loaded.error());
      leaf = *loaded;
    }
    add_pieces(*leaf, from, to, done, into, sources);
    parts.map.unpin(leaf);
    done += to - from;
  }
  co_return Result<>{};
}

Result<> verify(Parts& parts, BlockIndex first, std::span<std::byte> into, const Piece& piece,
                Mismatch& mismatch) {
  for (std::uint64_t i = 0; i < piece.run.count; ++i) {
    const PhysicalBlock address = piece.run.first.next(i);
    const auto expected = parts.checksums.get(address);
    const auto found = block_checksum(block_at(into, piece.offset_blocks + i), address);
    if (expected && *expected == found) continue;
    mismatch = {first.next(piece.offset_blocks + i), address};
    return fail(ErrorKind::kCorrupt, EIO, "a block does not match its checksum");
  }
  return {};
}

// Brings in the checksums that are not in memory, while the data is on its way.
Task<Result<>> pin_checksums(Parts& parts, std::pmr::vector<Piece>& pieces) {
  for (Piece& piece : pieces) {
    if (piece.pinned) continue;
    auto pinned = co_await parts.checksums.pin(piece.run);
    if (!pinned) co_return pinned;
    piece.pinned = true;
  }
  co_return Result<>{};
}

Task<Result<>> read_pieces(Parts& parts, View view, BlockIndex first, std::span<std::byte> into,
                           Mismatch& mismatch) {
  // Small reads take nothing from the heap.
  std::array<std::byte, 2 * sizeof(Piece)> room;
  std::pmr::monotonic_buffer_resource memory(room.data(), room.size());
  Sources sources(&memory);
  auto found = co_await look_up(parts, view, first, into, sources);
  if (!found) co_return found;
  std::pmr::vector<Piece>& pieces = sources.pieces;
  Latch latch(static_cast<std::uint32_t>(pieces.size() + sources.from_base.size()));
  for (BaseRead& read : sources.from_base) submit_read(*sources.base, read, latch);
  bool all_pinned = true;
  for (Piece& piece : pieces) {
    piece.pinned = parts.checksums.try_pin(piece.run);
    all_pinned = all_pinned && piece.pinned;
    piece.request.kind = IoRequest::Kind::kRead;
    piece.request.offset_bytes = piece.run.first.offset_bytes();
    piece.request.memory = into.data() + piece.offset_blocks * kBlockBytes;
    piece.request.length_bytes = piece.run.count * kBlockBytes;
    piece.request.latch = &latch;
    parts.pool.file(piece.run.first.member()).submit(piece.request);
  }
  Result<> done;
  if (!all_pinned) done = co_await pin_checksums(parts, pieces);
  co_await latch;
  for (const Piece& piece : pieces) {
    if (done) done = to_result(piece.request);
  }
  for (const BaseRead& read : sources.from_base) {
    if (done) done = to_result(read);
  }
  for (const Piece& piece : pieces) {
    if (done) done = verify(parts, first, into, piece, mismatch);
    if (piece.pinned) parts.checksums.unpin(piece.run);
  }
  co_return done;
}

// Takes what stands at a block as its content, where a power cut may have torn an in-place write.
Task<Result<bool>> accept_suspect(Parts& parts, View view, const Mismatch& mismatch) {
  auto loaded = co_await parts.map.load(view, leaf_of(mismatch.block));
  if (!loaded) co_return std::unexpected(loaded.error());
  const LeafRun run = (*loaded)->leaf.run_at(index_in_leaf(mismatch.block));
  parts.map.unpin(*loaded);
  if (run.physical != mismatch.address || !parts.suspect_epochs.contains(run.birth) ||
      !parts.granules.suspect(mismatch.address)) {
    co_return false;
  }
  AlignedBuffer content(kBlockBytes);
  auto read = co_await read_blocks(parts.pool.file(mismatch.address.member()),
                                   mismatch.address.offset_bytes(), content.span());
  if (!read) co_return std::unexpected(read.error());
  // Written back: after a failed sync the system may show what it will never write.
  auto written = co_await write_blocks(parts.pool.file(mismatch.address.member()),
                                       mismatch.address.offset_bytes(), content.span());
  if (!written) co_return std::unexpected(written.error());
  ChecksumRecord record{mismatch.address, {block_checksum(block_at(content.span(), 0), mismatch.address)}};
  const std::uint64_t bytes = encoded_bytes(record);
  const PhysicalRun one{mismatch.address, 1};
  auto pinned = co_await parts.checksums.pin(one);
  if (!pinned) co_return std::unexpected(pinned.error());
  auto room = co_await parts.journal.reserve(bytes);
  if (!room) {
    parts.checksums.unpin(one);
    co_return std::unexpected(room.error());
  }
  parts.journal.unreserve(bytes);
  parts.journal.stage(record);
  parts.checksums.set(mismatch.address, record.checksums);
  parts.checksums.unpin(one);
  ++parts.counters.checksums_recomputed;
  co_return true;
}

Error lost(Parts& parts, const Mismatch& mismatch) {
  ++parts.counters.checksum_errors;
  if (parts.report) {
    parts.report("checksum mismatch", mismatch.block.value * kBlockBytes, mismatch.address);
  }
  return {ErrorKind::kCorrupt, EIO, "a block does not match its checksum"};
}

std::unexpected<Error> unmapped(Parts& parts, BlockIndex first, const Error& error) {
  ++parts.counters.checksum_errors;
  if (parts.report) parts.report(error.text, first.value * kBlockBytes, PhysicalBlock{0});
  return std::unexpected(error);
}

}  // namespace

namespace {

// A long read is taken in slices of a leaf each, so that one is verified, out of a processor's own cache,
// while the others are on their way. All begin at once: what the view shows is looked up before anything is
// read, for once its snapshot is gone the reclaimer takes what it alone showed.
constexpr std::size_t kSliceBytes = kLeafBlocks * kBlockBytes;

struct Slices {
  Mismatch& mismatch;
  Latch latch = Latch();
  Result<> done = {};
};

Task<void> read_slice(Parts& parts, View view, BlockIndex first, std::span<std::byte> into, Slices& all) {
  Mismatch mismatch;
  auto read = co_await read_pieces(parts, view, first, into, mismatch);
  if (!read && all.done) {
    all.done = read;
    all.mismatch = mismatch;
  }
  all.latch.arrive();
}

Task<Result<>> read_in_slices(Parts& parts, View view, BlockIndex first, std::span<std::byte> into,
                              Mismatch& mismatch) {
  Slices all{mismatch};
  all.latch.add();  // until all have begun
  while (!into.empty()) {
    const std::size_t in_leaf = index_in_leaf(first) * kBlockBytes;
    const auto part = into.first(std::min(kSliceBytes - in_leaf, into.size()));
    all.latch.add();
    spawn(read_slice(parts, view, first, part, all));
    into = into.subspan(part.size());
    first = first.next(part.size() / kBlockBytes);
  }
  all.latch.arrive();
  co_await all.latch;
  co_return all.done;
}

}  // namespace

Task<Result<>> read_view(Parts& parts, View view, BlockIndex first, std::span<std::byte> into,
                         Mismatch& mismatch) {
  const std::uint64_t ticket = parts.pending.begin_read();
  Result<> read;
  if (into.size() <= kSliceBytes) {
    read = co_await read_pieces(parts, view, first, into, mismatch);
  } else {
    read = co_await read_in_slices(parts, view, first, into, mismatch);
  }
  parts.pending.end_read(ticket);
  co_return read;
}

namespace {

// Reads what nobody is writing now.
Task<Result<>> read_settled(Parts& parts, View view, BlockIndex first, std::span<std::byte> into) {
  while (true) {
    Mismatch mismatch;
    auto read = co_await read_view(parts, view, first, into, mismatch);
    if (read || read.error().kind != ErrorKind::kCorrupt) co_return read;
    // No block of the pool: it is the map that can't be read.
    if (mismatch.address.value == 0) co_return unmapped(parts, first, read.error());
    auto accepted = co_await accept_suspect(parts, view, mismatch);
    if (!accepted) co_return std::unexpected(accepted.error());
    if (!*accepted) co_return std::unexpected(lost(parts, mismatch));
  }
}

}  // namespace

Task<Result<>> read_snapshot(Parts& parts, View view, BlockIndex first, std::span<std::byte> into) {
  return read_settled(parts, view, first, into);
}

Task<Result<>> read_head_locked(Parts& parts, Head& head, BlockIndex first, std::span<std::byte> into) {
  return read_settled(parts, head.view(parts), first, into);
}

Task<Result<>> read_head(Parts& parts, Head& head, BlockIndex first, std::span<std::byte> into) {
  Mismatch mismatch;
  const View view = head.view(parts);
  auto read = co_await read_view(parts, view, first, into, mismatch);
  if (read || read.error().kind != ErrorKind::kCorrupt || mutated(Mutation::kRacingReadFails)) co_return read;
  ++parts.counters.reads_verified_again;
  RangeLock::Entry entry;
  entry.first = first.value;
  entry.end = first.value + into.size() / kBlockBytes;
  co_await head.lock.acquire(entry);
  read = co_await read_head_locked(parts, head, first, into);
  head.lock.release(entry);
  co_return read;
}

}  // namespace coppice
