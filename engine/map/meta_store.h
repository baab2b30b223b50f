// MetaStore: an ordered key-value store with three families, atomic batches and point-in-time iteration. The
// second seam under the engine: RocksDB in production, a deterministic one in memory in the simulator.
//
// Threads: every call may block, but for leaves_in_memory; on the background thread, or before the data path
// runs. Iterators see the store as it was when they were made.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coppice/result.h"
#include "layout/meta_batch.h"

namespace coppice {

// How far an iterator sees from the key that it was last sent to.
enum class Reach : std::uint8_t {
  kAll,
  // Only keys that share its first kPrefixBytes: filters make a miss cheap. Family kLeaf only. What was
  // erased as a range may still be seen: a branch that was dropped is not asked for, and its id never used
  // again.
  kPrefix,
};
inline constexpr std::size_t kPrefixBytes = 16;  // branch and leaf

class MetaIterator {
 public:
  virtual ~MetaIterator() = default;
  virtual void seek(std::string_view key) = 0;  // first key at or behind it
  virtual void next() = 0;
  [[nodiscard]] virtual bool valid() const = 0;
  [[nodiscard]] virtual std::string_view key() const = 0;
  [[nodiscard]] virtual std::string_view value() const = 0;
  virtual Result<> status() = 0;  // whether valid() == false means the end, or an error
};

class MetaStore {
 public:
  virtual ~MetaStore() = default;
  virtual Result<std::optional<std::string>> get(Family family, std::string_view key) = 0;
  // Atomic. `sync`: durable when it returns, with everything written before.
  virtual Result<> write(const MetaBatch& batch, bool sync) = 0;
  virtual std::unique_ptr<MetaIterator> iterate(Family family, Reach reach) = 0;
  // One over kLeaf, of Reach::kPrefix, that waits for no device: where something would have to be read it
  // ends with an error. Any thread; it may wait for a moment's lock of another. Null: there is nothing of the
  // kind.
  virtual std::unique_ptr<MetaIterator> leaves_in_memory() { return nullptr; }
  // It could not be told whether all that was written is there: to be compared with what else is known.
  [[nodiscard]] virtual bool doubtful() const { return false; }
};

class SpaceReserve;

// RocksDB in `directory`. kCorrupt / kBusy / kIo with RocksDB's own words in `reason`. On a full file system
// the reserve is released; where that is not enough a write is kNoSpace, has changed nothing, and may be
// tried again when there is room.
Result<std::unique_ptr<MetaStore>> open_rocks_meta_store(const std::string& directory, bool create,
                                                         std::string& reason,
                                                         std::shared_ptr<SpaceReserve> reserve = {});
// The same, of which nothing is written: not even its log, nor a lock taken.
Result<std::unique_ptr<MetaStore>> open_rocks_read_only(const std::string& directory, std::string& reason);
std::unique_ptr<MetaStore> make_memory_meta_store();
// What is written stays in memory and covers `lower`, which is only read.
std::unique_ptr<MetaStore> make_overlay_meta_store(std::unique_ptr<MetaStore> lower);

}  // namespace coppice
