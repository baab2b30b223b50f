#include <deque>
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

// A batch that no other has called durable yet.
struct Waiting {
  std::uint64_t sequence = 0;
  std::vector<Record> records;
};

Result<Waiting> decode_batch(const FoundBatch& batch, std::uint64_t& position) {
  Waiting decoded{batch.view.header.sequence, {}};
  position = batch.view.header.first_position;
  std::span<const std::byte> rest = batch.view.payload;
  while (!rest.empty()) {
    auto view = peek_record(rest);
    if (!view) return std::unexpected(view.error());
    auto record = decode_record(*view);
    if (!record) return std::unexpected(record.error());
    decoded.records.push_back(std::move(*record));
    rest = rest.subspan(view->length);
    position = view->position + view->length;
  }
  return decoded;
}

Task<Result<>> apply_trusted(std::deque<Waiting>& waiting, std::uint64_t durable_sequence, RecordSink& sink) {
  while (!waiting.empty() && waiting.front().sequence <= durable_sequence) {
    for (const Record& record : waiting.front().records) {
      auto applied = co_await sink.apply(record);
      if (!applied) co_return applied;
    }
    waiting.pop_front();
  }
  co_return Result<>{};
}

}  // namespace

// A batch waits in memory until a later one calls it durable. At most the last two rounds never hear that:
// what was written in two seconds.
Task<Result<JournalEnd>> replay_journal(JournalPlace place, Uuid store, JournalPoint from, RecordSink& sink) {
  JournalEnd end{from, from.sequence, {}};
  JournalPoint& point = end.point;
  std::deque<Waiting> waiting;
  while (true) {
    auto batch = co_await read_batch(place, store, point, point.ring_offset);
    if (!batch) co_return std::unexpected(batch.error());
    if (!*batch && point.ring_offset != 0) {
      batch = co_await read_batch(place, store, point, 0);
      if (!batch) co_return std::unexpected(batch.error());
    }
    if (!*batch) break;
    const FoundBatch& found = **batch;
    std::uint64_t position = 0;
    auto decoded = decode_batch(found, position);
    if (!decoded) co_return std::unexpected(decoded.error());
    waiting.push_back(std::move(*decoded));
    const BatchHeader& header = found.view.header;
    point = {header.sequence, found.view.header_hash, found.offset + batch_bytes(header.payload_bytes),
             position};
    end.durable_sequence = std::max(end.durable_sequence, header.durable_sequence);
    auto applied = co_await apply_trusted(waiting, end.durable_sequence, sink);
    if (!applied) co_return std::unexpected(applied.error());
  }
  for (Waiting& batch : waiting) {
    std::move(batch.records.begin(), batch.records.end(), std::back_inserter(end.tail));
  }
  co_return end;
}

}  // namespace coppice
