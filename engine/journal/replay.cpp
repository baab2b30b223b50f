#include <optional>

#include "journal/journal.h"

namespace coppice {

namespace {

struct FoundBatch {
  AlignedBuffer bytes;
  BatchView view;
  std::uint64_t offset = 0;
};

// The batch at `offset` if it is the one that continues `from`. Anything else there is an end, not an error:
// the ring is full of older batches.
Task<Result<std::optional<FoundBatch>>> read_batch(JournalPlace place, Uuid store, JournalPoint from,
                                                   std::uint64_t offset) {
  std::optional<FoundBatch> found;
  if (offset + kBlockBytes > place.ring_bytes) co_return found;
  AlignedBuffer first(kBlockBytes);
  auto read = co_await read_blocks(*place.file, place.offset_bytes + offset, first.span());
  if (!read) co_return std::unexpected(read.error());
  auto header = peek_batch(std::span<const std::byte, kBlockBytes>(first.data(), kBlockBytes));
  if (!header || header->store != store || header->sequence != from.sequence + 1 ||
      header->previous_hash != from.hash) {
    co_return found;
  }
  const std::uint64_t bytes = batch_bytes(header->payload_bytes);
  if (bytes > place.ring_bytes - offset) co_return found;
  AlignedBuffer whole(bytes);
  read = co_await read_blocks(*place.file, place.offset_bytes + offset, whole.span());
  if (!read) co_return std::unexpected(read.error());
  auto view = open_batch(whole.span());
  if (!view) co_return found;
  found.emplace(FoundBatch{std::move(whole), *view, offset});
  co_return found;
}

// Answers the position behind the batch's last record.
Task<Result<std::uint64_t>> apply_batch(const FoundBatch& batch, RecordSink& sink) {
  std::uint64_t position = batch.view.header.first_position;
  std::span<const std::byte> rest = batch.view.payload;
  while (!rest.empty()) {
    auto view = peek_record(rest);
    if (!view) co_return std::unexpected(view.error());
    auto record = decode_record(*view);
    if (!record) co_return std::unexpected(record.error());
    auto applied = co_await sink.apply(*record);
    if (!applied) co_return std::unexpected(applied.error());
    rest = rest.subspan(view->length);
    position = view->position + view->length;
  }
  co_return position;
}

}  // namespace

Task<Result<JournalPoint>> replay_journal(JournalPlace place, Uuid store, JournalPoint from,
                                          RecordSink& sink) {
  JournalPoint point = from;
  while (true) {
    auto batch = co_await read_batch(place, store, point, point.ring_offset);
    if (!batch) co_return std::unexpected(batch.error());
    if (!*batch && point.ring_offset != 0) {
      batch = co_await read_batch(place, store, point, 0);
      if (!batch) co_return std::unexpected(batch.error());
    }
    if (!*batch) co_return point;
    const FoundBatch& found = **batch;
    auto position = co_await apply_batch(found, sink);
    if (!position) co_return std::unexpected(position.error());
    point = {found.view.header.sequence, found.view.header_hash,
             found.offset + batch_bytes(found.view.header.payload_bytes), *position};
  }
}

}  // namespace coppice
