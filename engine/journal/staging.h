// Staging: records that are published but not yet in the journal, in memory that survives the daemon.
//
// A shared mapping of a preallocated file: after kill -9 the kernel still has it, so an acknowledged write is
// never lost to the death of the process. It is not for power cuts: after another boot it is ignored.
//
// Layout of the file (little-endian):
//   0       header: magic, version, stamp (boot id, store, open generation), base and released position, hash
//   4096    in-flight slots: 16 bytes each {physical u64, count u64}; count 0 is free
//   then    ring of records (layout/record.h); position p stands at (p - base) mod ring size
// A record is whole when its trailing hash, stored last, verifies under the stamp. `released` (a single
// aligned word) is the position below which everything is in the journal.
// Threads: the store's scheduler.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/uuid.h"
#include "coppice/result.h"
#include "layout/record.h"

namespace coppice {

struct StagingStamp {
  Uuid boot;
  Uuid store;
  std::uint64_t open_generation = 0;
  bool operator==(const StagingStamp&) const = default;
};

// The memory under it: a mapped file in production, plain memory in the simulator.
class StagingMemory {
 public:
  virtual ~StagingMemory() = default;
  [[nodiscard]] virtual std::span<std::byte> bytes() = 0;
};
// Opens the file, or makes it at full size with every block written (a hole would be a SIGBUS on a full
// disk).
Result<std::unique_ptr<StagingMemory>> map_staging_file(const std::string& path, std::uint64_t size_bytes);
// A copy of the file in memory, for a store that writes nothing: zeroes where it is missing or short.
std::unique_ptr<StagingMemory> copy_staging_file(const std::string& path, std::uint64_t size_bytes);
std::unique_ptr<StagingMemory> make_plain_staging(std::uint64_t size_bytes);

inline constexpr std::uint64_t kStagingSlots = 8192;
inline constexpr std::uint64_t kStagingSlotsOffset = 4096;
inline constexpr std::uint64_t kStagingRingOffset = kStagingSlotsOffset + kStagingSlots * 16;
inline constexpr std::uint64_t kDefaultStagingBytes = std::uint64_t{16} << 20;

// What a killed daemon left behind.
struct StagingTail {
  struct Entry {
    std::uint64_t position = 0;
    Record record;
  };
  std::vector<Entry> records;          // in order
  std::vector<PhysicalRun> in_flight;  // in-place writes that may have landed, or in part
  std::uint64_t start_position = 0;    // everything below is in the journal
  std::uint64_t end_position = 0;      // 0: the file says nothing
  bool damaged = false;                // whole records stand behind one that is not
};

class Staging {
 public:
  explicit Staging(std::unique_ptr<StagingMemory> memory);

  // What stands there under this stamp; nothing (no records, position 0) if the stamp is another one.
  [[nodiscard]] StagingTail read_tail(const StagingStamp& stamp) const;
  // A record was staged in [from, to), of what read_tail() says that the journal has.
  [[nodiscard]] bool had_record(const StagingStamp& stamp, std::uint64_t from, std::uint64_t to) const;
  // What stands there is a stamp of this store: the open generation that it names.
  [[nodiscard]] std::optional<std::uint64_t> stamped_generation(const Uuid& store) const;
  // Whatever stands there was stamped under this boot of the kernel.
  [[nodiscard]] bool of_boot(const Uuid& boot) const;
  // Goes on where a killed process ended: what it left under this stamp is staged as if by this one. Slots
  // that it held stay taken. `tail` is what read_tail() found.
  void resume(const StagingStamp& stamp, const StagingTail& tail);
  // Starts anew: empty, records begin at `position`.
  void restamp(const StagingStamp& stamp, std::uint64_t position);
  // After a failed sync: nothing here may be replayed.
  void invalidate();

  // Room for `bytes` of encoded records, wherever the ring's end falls. release() makes room.
  [[nodiscard]] bool has_room(std::uint64_t bytes) const;
  void reserve(std::uint64_t bytes);
  void unreserve(std::uint64_t bytes);
  // Appends; the caller reserved for it. Returns the position behind the record.
  std::uint64_t append(const Record& record);
  // Copies whole records of [from, to), an end of a record each, at most `max_bytes` (but always one record),
  // without padding; returns the position behind the last one copied.
  std::uint64_t copy(std::uint64_t from, std::uint64_t to, std::size_t max_bytes,
                     std::vector<std::byte>& into) const;
  void release(std::uint64_t up_to);
  [[nodiscard]] std::uint64_t end() const { return end_; }
  [[nodiscard]] std::uint64_t used_bytes() const { return end_ - released_; }
  [[nodiscard]] std::uint64_t reserved_bytes() const { return reserved_; }
  [[nodiscard]] std::uint64_t ring_bytes() const { return ring_.size(); }

  // A slot for an in-place write in flight, or kNoSlot when all are taken.
  static constexpr std::uint32_t kNoSlot = UINT32_MAX;
  std::uint32_t begin_in_place(PhysicalRun run);
  void end_in_place(std::uint32_t slot);

 private:
  struct Header;
  [[nodiscard]] Header* header() const;
  [[nodiscard]] bool record_beyond(std::uint64_t end) const;
  [[nodiscard]] std::span<std::byte> ring_at(std::uint64_t position) const;
  std::unique_ptr<StagingMemory> memory_;
  std::span<std::byte> ring_;
  std::uint64_t stamp_hash_ = 0;
  std::uint64_t base_ = 0;
  std::uint64_t released_ = 0;
  std::uint64_t end_ = 0;
  std::uint64_t reserved_ = 0;
  std::vector<std::uint32_t> free_slots_;
  std::vector<std::byte> scratch_;
};

}  // namespace coppice
