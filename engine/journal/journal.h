// Journal: makes staged records durable. A ring of batches in member 0, fed from the staging area.
//
// commit() is shared: one round syncs the data of every device, seals what is staged into batches, writes
// them, and syncs the journal's device; all who wait for a position below the round's end go on together.
// This is the conservative order (data before journal), so every batch of the chain is trusted whole and its
// durable_sequence is its own sequence.
// A failed write or sync stops the journal for good: nothing is retried, later commits fail, and the staging
// area is invalidated, since the kernel no longer knows what of it reached the device.
// Threads: the store's scheduler. stage() does not suspend.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/uuid.h"
#include "coppice/aligned_buffer.h"
#include "coppice/result.h"
#include "coppice/scheduler.h"
#include "coppice/task.h"
#include "io/block_file.h"
#include "journal/staging.h"
#include "layout/batch.h"
#include "layout/record.h"

namespace coppice {

// Where the ring stands in its file.
struct JournalPlace {
  BlockFile* file = nullptr;
  std::uint64_t offset_bytes = 0;
  std::uint64_t ring_bytes = 0;
};

// The end of a chain of batches: where the next one goes and what it must continue.
struct JournalPoint {
  std::uint64_t sequence = 0;     // of the last batch
  std::uint64_t hash = 0;         // of its header
  std::uint64_t ring_offset = 0;  // where the next one stands
  std::uint64_t position = 0;     // behind its last record
};

class Journal {
 public:
  using SyncAll = std::function<Task<Result<>>()>;

  // `staging` was restamped at `end.position`. `tail` is where redo would start.
  Journal(Scheduler& scheduler, JournalPlace place, Uuid store, Staging& staging, SyncAll sync_all,
          JournalPoint tail, JournalPoint end);

  // Room in the staging area for records of `bytes`; waits while it is full, or while the ring is so full
  // that only a checkpoint helps. Fails when the journal has stopped (nothing is reserved then).
  Task<Result<>> reserve(std::uint64_t bytes);
  void unreserve(std::uint64_t bytes);
  // Publishes a record to what survives the process. Returns the position behind it.
  std::uint64_t stage(const Record& record);
  [[nodiscard]] std::uint64_t staged() const { return staging_.end(); }

  // Returns when everything below `position` is durable.
  Task<Result<>> commit(std::uint64_t position);
  [[nodiscard]] std::uint64_t durable() const { return end_.position; }
  [[nodiscard]] bool failed() const { return failed_; }
  [[nodiscard]] Error failure() const { return failure_; }
  // Stops everything, as a failed sync does.
  void stop(Error why);

  // The end of what is durable; a checkpoint that holds everything up to there may trim() to it.
  [[nodiscard]] JournalPoint point() const { return end_; }
  void trim(JournalPoint to);
  [[nodiscard]] std::uint64_t used_bytes() const;
  // More than half of the ring, or of the staging area, is in use.
  [[nodiscard]] bool wants_checkpoint() const { return used_bytes() > place_.ring_bytes / 2; }
  [[nodiscard]] bool wants_commit() const { return staging_.used_bytes() > staging_.ring_bytes() / 4; }
  // Called when more became durable.
  void on_durable(std::function<void()> callback) { advanced_ = std::move(callback); }
  // Called when reserve() has to wait, so that somebody commits or checkpoints.
  void on_pressure(std::function<void()> callback) { pressure_ = std::move(callback); }

  Staging& staging() { return staging_; }

 private:
  Task<Result<>> run_round();
  Task<Result<>> write_batch(std::vector<std::byte>& payload, std::uint64_t first_position,
                             std::uint64_t end_position);
  [[nodiscard]] bool blocked(std::uint64_t bytes) const;
  [[nodiscard]] std::size_t max_payload_bytes() const;

  JournalPlace place_;
  Uuid store_;
  Staging& staging_;
  SyncAll sync_all_;
  JournalPoint tail_;
  JournalPoint end_;      // durable
  JournalPoint written_;  // sealed and written, perhaps not yet synced
  bool round_running_ = false;
  bool failed_ = false;
  Error failure_;
  WaitQueue round_done_;
  WaitQueue room_;
  std::function<void()> pressure_;
  std::function<void()> advanced_;
};

// Reads the chain of batches from `from` on and hands every record to `apply`, in order. Ends at the first
// batch that is not there whole. Returns the end of the chain.
class RecordSink {
 public:
  virtual ~RecordSink() = default;
  virtual Task<Result<>> apply(const Record& record) = 0;
};
Task<Result<JournalPoint>> replay_journal(JournalPlace place, Uuid store, JournalPoint from,
                                          RecordSink& sink);

}  // namespace coppice
