#include "journal/staging.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "base/hash.h"

namespace coppice {

struct Staging::Header {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t reserved;
  std::uint8_t boot[16];
  std::uint8_t store[16];
  std::uint64_t open_generation;
  std::uint64_t base;
  std::uint64_t hash;      // of everything above
  std::uint64_t released;  // changes while running; a word of its own, never torn
};

namespace {

constexpr std::uint64_t kMagic = 0x3153475453504f43;  // "COPSTGS1"
constexpr std::uint32_t kVersion = 1;
// What is left at the ring's end and smaller than this can't even hold padding, and is skipped.
constexpr std::size_t kSmallestRecord = kRecordHeaderBytes + kRecordTrailerBytes;
constexpr std::size_t kRecordPositionOffset = 8;

struct Slot {
  std::uint64_t physical;
  std::uint64_t count;
};

// Keeps the compiler from moving what a reader after a kill relies on; the kernel keeps the rest.
void ordered() {
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

std::span<Slot> slots_of(std::span<std::byte> memory) {
  return {reinterpret_cast<Slot*>(memory.data() + kStagingSlotsOffset), kStagingSlots};
}

}  // namespace

Staging::Staging(std::unique_ptr<StagingMemory> memory) : memory_(std::move(memory)) {
  static_assert(sizeof(Header) == 80 && offsetof(Header, hash) == 64 && offsetof(Header, released) == 72);
  static_assert(sizeof(Slot) == 16);
  ring_ = memory_->bytes().subspan(kStagingRingOffset);
}

Staging::Header* Staging::header() const {
  return reinterpret_cast<Header*>(memory_->bytes().data());
}

std::span<std::byte> Staging::ring_at(std::uint64_t position) const {
  return ring_.subspan((position - base_) % ring_.size());
}

namespace {

std::uint64_t hash_of_stamp(const StagingStamp& stamp, std::uint64_t base) {
  std::array<std::byte, 48> bytes{};
  std::memcpy(bytes.data(), stamp.boot.bytes.data(), 16);
  std::memcpy(bytes.data() + 16, stamp.store.bytes.data(), 16);
  std::memcpy(bytes.data() + 32, &stamp.open_generation, 8);
  std::memcpy(bytes.data() + 40, &base, 8);
  return hash64(bytes, kMagic);
}

}  // namespace

StagingTail Staging::read_tail(const StagingStamp& stamp) const {
  StagingTail tail;
  const Header* head = header();
  if (head->magic != kMagic || head->version != kVersion || stamp.boot.is_nil() ||
      std::memcmp(head->boot, stamp.boot.bytes.data(), 16) != 0 ||
      std::memcmp(head->store, stamp.store.bytes.data(), 16) != 0 ||
      head->open_generation != stamp.open_generation || head->hash != hash_of_stamp(stamp, head->base)) {
    return tail;
  }
  std::uint64_t position = tail.start_position = head->released;
  while (position - head->released < ring_.size()) {
    const std::uint64_t offset = (position - head->base) % ring_.size();
    if (ring_.size() - offset < kSmallestRecord) {
      position += ring_.size() - offset;
      continue;
    }
    auto view = verify_record(ring_.subspan(offset), head->hash);
    if (!view || view->position != position) break;
    if (view->type != RecordType::kPadding) {
      auto record = decode_record(*view);
      if (!record) break;
      tail.records.push_back({position, std::move(*record)});
    }
    position += view->length;
  }
  tail.end_position = position;
  tail.damaged = record_beyond(position);
  for (const Slot& slot : slots_of(memory_->bytes())) {
    if (slot.count != 0) tail.in_flight.push_back({PhysicalBlock{slot.physical}, slot.count});
  }
  return tail;
}

// At each place of the ring only one position is possible, so that almost nothing has to be hashed.
bool Staging::record_beyond(std::uint64_t end) const {
  const Header* head = header();
  for (std::uint64_t position = round_up(end, 8); position - head->released < ring_.size(); position += 8) {
    const std::span<const std::byte> at = ring_.subspan((position - head->base) % ring_.size());
    if (at.size() < kSmallestRecord) continue;
    std::uint64_t named = 0;
    std::memcpy(&named, at.data() + kRecordPositionOffset, sizeof named);
    if (named != position) continue;
    if (auto view = verify_record(at, head->hash); view && view->position == position) return true;
  }
  return false;
}

std::optional<std::uint64_t> Staging::stamped_generation(const Uuid& store) const {
  const Header* head = header();
  if (head->magic != kMagic || head->version != kVersion) return std::nullopt;
  StagingStamp stamp{.boot = {}, .store = store, .open_generation = head->open_generation};
  std::memcpy(stamp.boot.bytes.data(), head->boot, 16);
  const bool ours = std::memcmp(head->store, store.bytes.data(), 16) == 0;
  if (!ours || head->hash != hash_of_stamp(stamp, head->base)) return std::nullopt;
  return head->open_generation;
}

bool Staging::had_record(const StagingStamp& stamp, std::uint64_t from, std::uint64_t to) const {
  const Header* head = header();
  const std::uint64_t hash = hash_of_stamp(stamp, head->base);
  while (from < to) {
    const std::uint64_t offset = (from - head->base) % ring_.size();
    if (ring_.size() - offset < kSmallestRecord) {
      from += ring_.size() - offset;
      continue;
    }
    const auto view = verify_record(ring_.subspan(offset), hash);
    // What was written over since is too far back to have been padding.
    if (!view || view->position != from || view->type != RecordType::kPadding) return true;
    from += view->length;
  }
  return false;
}

bool Staging::of_boot(const Uuid& boot) const {
  return !boot.is_nil() && std::memcmp(header()->boot, boot.bytes.data(), 16) == 0;
}

void Staging::resume(const StagingStamp& stamp, const StagingTail& tail) {
  base_ = header()->base;
  released_ = tail.start_position;
  end_ = tail.end_position;
  reserved_ = 0;
  stamp_hash_ = hash_of_stamp(stamp, base_);
  free_slots_.clear();
  const std::span<const Slot> slots = slots_of(memory_->bytes());
  for (std::uint32_t slot = kStagingSlots; slot-- > 0;) {
    if (slots[slot].count == 0) free_slots_.push_back(slot);
  }
}

void Staging::restamp(const StagingStamp& stamp, std::uint64_t position) {
  invalidate();
  ordered();
  std::memset(slots_of(memory_->bytes()).data(), 0, kStagingSlots * sizeof(Slot));
  free_slots_.clear();
  for (std::uint32_t slot = kStagingSlots; slot-- > 0;) free_slots_.push_back(slot);
  base_ = released_ = end_ = position;
  reserved_ = 0;
  stamp_hash_ = hash_of_stamp(stamp, base_);
  // A record left at the ring's start by an earlier run has another stamp's hash and so is no record here.
  Header* head = header();
  std::memcpy(head->boot, stamp.boot.bytes.data(), 16);
  std::memcpy(head->store, stamp.store.bytes.data(), 16);
  head->version = kVersion;
  head->reserved = 0;
  head->open_generation = stamp.open_generation;
  head->base = base_;
  head->released = released_;
  head->hash = stamp_hash_;
  ordered();
  head->magic = kMagic;
}

void Staging::invalidate() {
  header()->magic = 0;
}

// A record that does not fit before the ring's end is preceded by padding shorter than itself, so twice the
// bytes are always enough.
bool Staging::has_room(std::uint64_t bytes) const {
  return used_bytes() + reserved_ + 2 * bytes <= ring_.size();
}
void Staging::reserve(std::uint64_t bytes) {
  reserved_ += 2 * bytes;
}
void Staging::unreserve(std::uint64_t bytes) {
  reserved_ -= 2 * bytes;
}

namespace {

// The trailing hash is stored last: a record is there entirely or not at all.
void publish(std::span<std::byte> to, std::span<const std::byte> record) {
  const std::size_t body = record.size() - kRecordTrailerBytes;
  std::memcpy(to.data(), record.data(), body);
  ordered();
  std::uint64_t hash = 0;
  std::memcpy(&hash, record.data() + body, sizeof hash);
  *reinterpret_cast<volatile std::uint64_t*>(to.data() + body) = hash;
  ordered();
}

}  // namespace

std::uint64_t Staging::append(const Record& record) {
  const std::size_t length = encoded_bytes(record);
  const std::span<std::byte> room = ring_at(end_);
  if (room.size() < length) {
    scratch_.clear();
    encode_padding(room.size(), end_, stamp_hash_, scratch_);
    publish(room, scratch_);
    end_ += room.size();
  }
  scratch_.clear();
  encode_record(record, end_, stamp_hash_, scratch_);
  const std::uint64_t left = ring_at(end_).size() - scratch_.size();
  publish(ring_at(end_), scratch_);
  end_ += scratch_.size();
  if (left < kSmallestRecord) end_ += left;
  return end_;
}

std::uint64_t Staging::copy(std::uint64_t from, std::uint64_t to, std::size_t max_bytes,
                            std::vector<std::byte>& into) const {
  std::size_t copied = 0;
  std::uint64_t position = from;
  while (position < to) {
    const std::span<std::byte> at = ring_at(position);
    if (at.size() < kSmallestRecord) {
      position += at.size();
      continue;
    }
    auto view = peek_record(at);
    if (!view) std::abort();  // our own memory
    if (view->type != RecordType::kPadding) {
      if (copied != 0 && copied + view->length > max_bytes) break;
      into.insert(into.end(), at.begin(), at.begin() + static_cast<std::ptrdiff_t>(view->length));
      copied += view->length;
    }
    position += view->length;
  }
  return position;
}

void Staging::release(std::uint64_t up_to) {
  released_ = up_to;
  *static_cast<volatile std::uint64_t*>(&header()->released) = up_to;
}

std::uint32_t Staging::begin_in_place(PhysicalRun run) {
  if (free_slots_.empty()) return kNoSlot;
  const std::uint32_t index = free_slots_.back();
  free_slots_.pop_back();
  Slot& slot = slots_of(memory_->bytes())[index];
  slot.physical = run.first.value;
  ordered();
  *static_cast<volatile std::uint64_t*>(&slot.count) = run.count;
  ordered();
  return index;
}

void Staging::end_in_place(std::uint32_t index) {
  ordered();
  *static_cast<volatile std::uint64_t*>(&slots_of(memory_->bytes())[index].count) = 0;
  free_slots_.push_back(index);
}

}  // namespace coppice
