// A batch of the journal and the records in it: as it stands in the ring, with its hashes made right, and a
// record's body alone.
#include "layout/batch.h"

#include <algorithm>

#include "fuzz.h"
#include "layout/record.h"

namespace coppice::fuzz {
namespace {

void check_record(const RecordView& view) {
  const auto record = decode_record(view);
  if (!record) return;
  Bytes again;
  encode_record(*record, view.position, 1, again);
  demand(again.size() == view.length, "a record that was taken has the length that the encoder gives it");
  const auto body = std::span(again).subspan(kRecordHeaderBytes, view.body.size());
  demand(std::ranges::equal(body, view.body), "a record that was taken is what the encoder writes");
}

void check_payload(Input rest) {
  while (!rest.empty()) {
    const auto view = peek_record(rest);
    if (!view) return;
    demand(view->length != 0 && view->length <= rest.size(), "a record ends within its batch");
    check_record(*view);
    rest = rest.subspan(view->length);
  }
}

void check_batch(Input batch) {
  const auto view = open_batch(batch);
  if (view) check_payload(view->payload);
}

void check_sealed(Input payload) {
  Bytes batch(batch_bytes(payload.size()));
  std::ranges::copy(payload, batch.begin() + kBatchHeaderBytes);
  BatchHeader header;
  header.sequence = 9;
  header.payload_bytes = payload.size();
  seal_batch(header, batch);
  const auto view = open_batch(batch);
  demand(view && std::ranges::equal(view->payload, payload), "a sealed batch opens");
  check_payload(view->payload);
}

}  // namespace

void run_one(Input input) {
  const std::uint8_t kind = take_byte(input);
  if (kind == 0) {
    if (input.size() >= kBlockBytes) static_cast<void>(peek_batch(input.first<kBlockBytes>()));
    return check_batch(input);
  }
  if (kind == 1) return check_sealed(input);
  const Input body = input.first(input.size() / 8 * 8);  // frames carry nothing else
  const std::size_t length = body.size() + kRecordHeaderBytes + kRecordTrailerBytes;
  check_record({static_cast<RecordType>(kind - 2), 64, length, body});
}

}  // namespace coppice::fuzz
