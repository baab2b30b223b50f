// The staging file that a killed daemon left: noise in its header, slots and ring, and records whose frames
// are right but whose bodies are not.
#include "journal/staging.h"

#include <algorithm>
#include <array>

#include "base/hash.h"
#include "fuzz.h"

namespace coppice::fuzz {
namespace {

constexpr std::uint64_t kRingBytes = 16 << 10;
constexpr std::size_t kHashOffset = 64;  // of the header's hash, which stamps the records

StagingStamp stamp() {
  StagingStamp stamp;
  stamp.boot.bytes.fill(1);
  stamp.store.bytes.fill(2);
  stamp.open_generation = 3;
  return stamp;
}

// The file under test, whose bytes the target may change behind the back of Staging.
struct File {
  std::unique_ptr<StagingMemory> memory = make_plain_staging(kStagingRingOffset + kRingBytes);
  std::span<std::byte> bytes = memory->bytes();
  Staging staging{std::move(memory)};

  void put(std::size_t offset, Input what) {
    std::ranges::copy(what.first(std::min(what.size(), bytes.size() - offset)),
                      bytes.begin() + static_cast<std::ptrdiff_t>(offset));
  }
};

// Frames a body as the record at `position`.
Bytes framed(Input body, std::uint16_t type, std::uint64_t position, std::uint64_t stamp_hash) {
  const std::size_t hashed = kRecordHeaderBytes + body.size();
  const auto length = static_cast<std::uint32_t>(hashed + kRecordTrailerBytes);
  Bytes record(length);
  std::memcpy(record.data(), &length, sizeof length);
  std::memcpy(record.data() + 4, &type, sizeof type);
  std::memcpy(record.data() + 8, &position, sizeof position);
  std::ranges::copy(body, record.begin() + kRecordHeaderBytes);
  const std::uint64_t hash = hash64(std::span(record).first(hashed), stamp_hash);
  std::memcpy(record.data() + hashed, &hash, sizeof hash);
  return record;
}

// The input as a row of records: type, length in words, body.
void put_records(File& file, Input input, std::uint64_t base) {
  std::uint64_t stamp_hash = 0;
  std::memcpy(&stamp_hash, file.bytes.data() + kHashOffset, sizeof stamp_hash);
  std::uint64_t offset = 0;
  while (!input.empty()) {
    const std::uint8_t type = take_byte(input);
    const std::size_t bytes = std::min<std::size_t>(take_byte(input) * std::size_t{8}, input.size() / 8 * 8);
    const Bytes record = framed(input.first(bytes), type, base + offset, stamp_hash);
    if (offset + record.size() > kRingBytes) return;
    file.put(kStagingRingOffset + offset, record);
    offset += record.size();
    input = input.subspan(bytes);
  }
}

void check(File& file) {
  const StagingTail tail = file.staging.read_tail(stamp());
  demand(tail.end_position - tail.start_position <= kRingBytes, "a tail is no longer than the ring");
  demand(tail.end_position != 0 || tail.records.empty(), "a file that says nothing has no records");
  if (tail.end_position == 0) return;
  file.staging.resume(stamp(), tail);
  Bytes copied;
  std::uint64_t position = tail.start_position;
  std::size_t found = 0;
  while (position != tail.end_position) {
    const std::uint64_t next = file.staging.copy(position, tail.end_position, kRingBytes, copied);
    demand(next > position, "copying gets on");
    position = next;
  }
  for (Input rest = copied; !rest.empty(); ++found) {
    const auto view = peek_record(rest);
    demand(view.has_value(), "what was copied are records");
    rest = rest.subspan(view->length);
  }
  demand(found == tail.records.size(), "what was read is what is copied");
}

}  // namespace

void run_one(Input input) {
  const std::uint8_t kind = take_byte(input);
  const std::uint64_t base = std::uint64_t{take_byte(input)} * 8;
  File file;
  file.staging.restamp(stamp(), base);
  switch (kind % 4) {
    case 0:
      file.put(0, input);
      break;
    case 1:
      file.put(72, input);  // `released`, and the slots behind it
      break;
    case 2:
      file.put(kStagingSlotsOffset, input);
      break;
    default:
      put_records(file, input, base);
  }
  check(file);
}

}  // namespace coppice::fuzz
