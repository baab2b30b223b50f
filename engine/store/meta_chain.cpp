#include "store/meta_chain.h"

#include <algorithm>
#include <cstring>

#include "coppice/aligned_buffer.h"
#include "pool/requests.h"

namespace coppice {

namespace {

std::uint64_t blocks_of(const std::vector<PhysicalRun>& runs) {
  std::uint64_t blocks = 0;
  for (const PhysicalRun& run : runs) blocks += run.count;
  return blocks;
}

}  // namespace

Task<Result<MetaChain>> MetaChain::find(Pool& pool, PhysicalBlock last, std::uint64_t first) {
  MetaChain chain(pool, 0);
  AlignedBuffer head(kBlockBytes);
  for (PhysicalBlock at = last;;) {
    const auto into = head.first(kBlockBytes);
    if (!pool.locate(at)) co_return fail(ErrorKind::kCorrupt, 0, "a segment's head is outside the pool");
    auto read = co_await read_blocks(pool.file(at.member()), at.offset_bytes(), into);
    if (!read) co_return std::unexpected(read.error());
    auto segment = decode_meta_segment(into.first<kBlockBytes>(), at);
    if (!segment) co_return std::unexpected(segment.error());
    const bool begins = chain.empty();
    const bool follows =
        begins || (segment->chain == chain.id_ && segment->number + 1 == chain.segments_.back().number);
    const bool inside = std::ranges::all_of(segment->runs, [&](const PhysicalRun& run) {
      return pool.locate(run.first) && pool.locate(run.first.next(run.count - 1));
    });
    if (!follows || !inside || segment->store != pool.superblock().store || segment->number < first)
      co_return fail(ErrorKind::kCorrupt, 0, "a segment's head belongs to something else");
    chain.id_ = segment->chain;
    const std::uint64_t blocks = blocks_of(segment->runs);
    chain.segments_.push_back({segment->number, std::move(segment->runs), blocks});
    if (segment->number == first) break;
    at = segment->previous;
  }
  std::ranges::reverse(chain.segments_);
  co_return chain;
}

std::uint64_t MetaChain::blocks() const {
  std::uint64_t blocks = 0;
  for (const Segment& segment : segments_) blocks += segment.blocks;
  return blocks;
}

std::vector<PhysicalRun> MetaChain::runs() const {
  std::vector<PhysicalRun> all;
  for (const Segment& segment : segments_) all.insert(all.end(), segment.runs.begin(), segment.runs.end());
  return all;
}

const MetaChain::Segment* MetaChain::segment(std::uint64_t number) const {
  if (segments_.empty() || number < segments_.front().number || number > segments_.back().number)
    return nullptr;
  return &segments_[number - segments_.front().number];
}

PhysicalBlock MetaChain::address(const Segment& segment, std::uint64_t block) {
  for (const PhysicalRun& run : segment.runs) {
    if (block < run.count) return run.first.next(block);
    block -= run.count;
  }
  return {};
}

Task<Result<>> MetaChain::transfer(IoRequest::Kind kind, const Segment& segment, std::uint64_t block,
                                   std::span<std::byte> bytes) const {
  std::vector<FileRequest> requests;
  std::uint64_t skip = block;
  for (const PhysicalRun& run : segment.runs) {
    if (bytes.empty()) break;
    if (skip >= run.count) {
      skip -= run.count;
      continue;
    }
    const PhysicalBlock first = run.first.next(skip);
    const std::uint64_t part = std::min<std::uint64_t>(bytes.size(), (run.count - skip) * kBlockBytes);
    FileRequest request = read_request(pool_->file(first.member()), first.offset_bytes(), bytes.first(part));
    request.io.kind = kind;
    requests.push_back(request);
    bytes = bytes.subspan(part);
    skip = 0;
  }
  auto done = co_await perform_all(requests);
  co_return done;
}

Task<Result<>> MetaChain::add_segment(std::vector<PhysicalRun> runs) {
  const std::uint64_t number = empty() ? 1 : last_number() + 1;
  const PhysicalBlock previous = empty() ? PhysicalBlock{} : last_head();
  const std::uint64_t blocks = blocks_of(runs);
  AlignedBuffer head(kBlockBytes);
  const auto image = head.first(kBlockBytes);
  encode_meta_segment({pool_->superblock().store, id_, number, previous, runs}, image.first<kBlockBytes>());
  segments_.push_back({number, std::move(runs), blocks});
  point_.segment = number;
  point_.block = 1;
  const Segment& made = segments_.back();
  auto written = co_await transfer(IoRequest::Kind::kWrite, made, 0, image);
  co_return written;
}

std::uint64_t MetaChain::room_blocks() {
  if (empty()) return 0;
  const bool full = point_.block >= segment(point_.segment)->blocks;
  if (full && point_.segment < last_number())
    point_ = {point_.segment + 1, 1, point_.sequence, point_.hash, false};
  return segment(point_.segment)->blocks - point_.block;
}

Task<Result<>> MetaChain::leave_segments() {
  while (room_blocks() != 0) {
    const std::span<const std::byte> nothing;
    auto written = co_await write(nothing, MetaFrame::kSkip, 0);
    if (!written) co_return written;
    point_.block = segment(point_.segment)->blocks;
  }
  co_return Result<>{};
}

Task<Result<>> MetaChain::write(std::span<const std::byte> payload, std::uint32_t flags,
                                std::uint64_t applied) {
  const Segment& into = *segment(point_.segment);
  const std::uint64_t blocks = meta_frame_blocks(payload.size());
  AlignedBuffer bytes(blocks * kBlockBytes);
  if (!payload.empty()) std::memcpy(bytes.data() + kMetaFrameHeaderBytes, payload.data(), payload.size());
  const MetaFrame frame{.chain = id_,
                        .sequence = point_.sequence + 1,
                        .previous_hash = point_.hash,
                        .payload_bytes = static_cast<std::uint32_t>(payload.size()),
                        .flags = flags,
                        .payload_hash = 0,
                        .applied = applied};
  const auto image = bytes.first(blocks * kBlockBytes);
  point_.hash = seal_meta_frame(frame, address(into, point_.block), image);
  point_.sequence = frame.sequence;
  const std::uint64_t at = point_.block;
  point_.block += blocks;
  auto written = co_await transfer(IoRequest::Kind::kWrite, into, at, image);
  co_return written;
}

std::vector<PhysicalRun> MetaChain::forget_before(std::uint64_t number) {
  std::vector<PhysicalRun> left;
  while (!empty() && segments_.front().number < number) {
    const auto& runs = segments_.front().runs;
    left.insert(left.end(), runs.begin(), runs.end());
    segments_.erase(segments_.begin());
  }
  return left;
}

Task<Result<std::optional<MetaChain::Piece>>> MetaChain::read(Point& at) const {
  const Segment* from = segment(at.segment);
  if (from != nullptr && at.block >= from->blocks) {
    ++at.segment;
    at.block = 1;
    from = segment(at.segment);
  }
  if (from == nullptr || at.block >= from->blocks) co_return std::nullopt;
  AlignedBuffer bytes(kMaxMetaFrameBytes);
  const auto first = bytes.first(kBlockBytes);
  auto read = co_await transfer(IoRequest::Kind::kRead, *from, at.block, first);
  if (!read) co_return std::unexpected(read.error());
  const auto found = peek_meta_frame(first, address(*from, at.block));
  if (!found || found->frame.chain != id_) co_return std::nullopt;
  const MetaFrame& frame = found->frame;
  const bool follows = frame.sequence == at.sequence + 1 && (at.cut || frame.previous_hash == at.hash);
  if (!follows) co_return std::nullopt;
  const std::uint64_t blocks = meta_frame_blocks(frame.payload_bytes);
  if (blocks > from->blocks - at.block) co_return std::nullopt;
  if (blocks > 1) {
    const auto rest = bytes.span().subspan(kBlockBytes, (blocks - 1) * kBlockBytes);
    read = co_await transfer(IoRequest::Kind::kRead, *from, at.block + 1, rest);
    if (!read) co_return std::unexpected(read.error());
  }
  const auto payload = bytes.span().subspan(kMetaFrameHeaderBytes, frame.payload_bytes);
  if (!payload_fits(frame, payload)) co_return std::nullopt;
  const bool skips = (frame.flags & MetaFrame::kSkip) != 0;
  at = {at.segment, skips ? from->blocks : at.block + blocks, frame.sequence, found->hash, false};
  co_return Piece{{payload.begin(), payload.end()}, frame.flags, frame.applied};
}

}  // namespace coppice
