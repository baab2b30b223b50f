// Journal: makes staged records durable. A ring of batches in member 0, fed from the staging area.
//
// commit() is shared: one round seals what is staged into batches, writes them and syncs; all who wait for a
// position below the round's end go on together. Two orders:
//   order-free    batches are written, then every device that holds data or journal is synced, all at once. A
//                 batch may so be durable without the data of its records: each has the `durable_sequence`,
//                 up to which a completed sync covers batches and data, and what lies beyond the last one
//                 that recovery finds - the *tail* - is verified block by block against the data.
//   conservative  data is synced first, then the batches are written, then the journal is synced. Every batch
//                 is trusted whole, its durable_sequence is its own. The reference for the other one.
// Where a client flushes behind every few writes, records are staged *early*, and their batch written,
// together with their data: the flush is then nothing but the sync. Until its data is written no batch behind
// it is called durable, a checkpoint does not begin behind it, and a slot of the staging file tells a
// recovery after a kill to look at its blocks. durable() is what a flush waits for. proven() is what recovery
// will take without a look at the data: a later batch that carries it is itself covered by a sync. It follows
// a round behind. A failed write or sync stops the journal for good: nothing is retried, later commits fail,
// and the staging area is invalidated, since the kernel no longer knows what of it reached the device.
// Threads: the store's scheduler. stage() does not suspend.
#pragma once

#include <cstdint>
#include <deque>
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

enum class FlushOrder : std::uint8_t { kOrderFree, kConservative };

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

struct JournalSetup {
  JournalPlace place;
  Uuid store;
  FlushOrder order = FlushOrder::kOrderFree;
  // Syncs every device that holds data or journal.
  std::function<Task<Result<>>()> sync_all;
  JournalPoint tail;  // where redo would start
  JournalPoint end;   // staging goes on at its position
  // During recovery: everything behind this batch has to be verified again if recovery dies, so that no batch
  // may claim more. The normal case: end.sequence, and it advances.
  std::uint64_t durable_sequence = 0;
  bool recovering = false;
};

class Journal {
 public:
  Journal(Scheduler& scheduler, Staging& staging, JournalSetup setup);

  // Room in the staging area for records of `bytes`; waits while it is full, or while the ring is so full
  // that only a checkpoint helps. Fails when the journal has stopped (nothing is reserved then).
  Task<Result<>> reserve(std::uint64_t bytes);
  void unreserve(std::uint64_t bytes);
  // Publishes a record to what survives the process. Returns the position behind it.
  std::uint64_t stage(const Record& record);
  [[nodiscard]] std::uint64_t staged() const { return staging_.end(); }

  // The same before the data is written; the journal starts to write its batch. False: not in this order.
  [[nodiscard]] bool may_stage_early() const { return order_ == FlushOrder::kOrderFree && !failed_; }
  struct Early {
    std::uint64_t start = 0;
    std::uint64_t end = 0;  // the position behind it
  };
  Early stage_early(const Record& record);
  void push();  // behind the last stage_early() of a request
  void finish_early(Early record);
  // The data could not be written. Its record stays in the way until a checkpoint has left it behind.
  void abandon_early(Early record);
  // Returns when the data of every early record staged so far is written, or its record abandoned.
  Task<void> early_finished();

  // Returns when everything below `position` is durable, with the data of early records that were finished.
  Task<Result<>> commit(std::uint64_t position);
  // Returns when everything that was staged before is proven: one round more than a commit.
  Task<Result<>> prove();
  // A commit is on its way.
  [[nodiscard]] bool round_running() const { return round_running_; }
  // Returns when that one has ended, and not later: another one may begin at once.
  Task<void> round_ended();
  [[nodiscard]] std::uint64_t durable() const { return end_.position; }
  [[nodiscard]] std::uint64_t proven() const { return proven_; }
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
  // Called when more became durable or proven.
  void on_durable(std::function<void()> callback) { advanced_ = std::move(callback); }
  // Called when reserve() has to wait, so that somebody commits or checkpoints.
  void on_pressure(std::function<void()> callback) { pressure_ = std::move(callback); }

  Staging& staging() { return staging_; }

 private:
  // A batch that is not known durable yet, or not carried as such by one that is.
  struct Unproven {
    std::uint64_t sequence = 0;
    std::uint64_t end_position = 0;
  };
  Task<Result<>> next_round();
  Task<Result<>> run_round();
  Task<Result<>> write_staged(std::uint64_t target);
  Task<Result<>> write_batch(std::vector<std::byte>& payload, std::uint64_t first_position,
                             std::uint64_t end_position);
  void carry_proof(std::uint64_t carried);
  Task<void> write_ahead();
  [[nodiscard]] std::uint64_t complete_sequence() const;
  [[nodiscard]] bool blocked(std::uint64_t bytes) const;
  [[nodiscard]] std::size_t max_payload_bytes() const;

  JournalPlace place_;
  Uuid store_;
  FlushOrder order_;
  bool recovering_;
  Staging& staging_;
  std::function<Task<Result<>>()> sync_all_;
  JournalPoint tail_;
  JournalPoint end_;      // durable
  JournalPoint written_;  // sealed and written, perhaps not yet synced
  std::uint64_t durable_sequence_;
  std::uint64_t carried_;  // by the last batch written
  std::uint64_t proven_;
  std::deque<Unproven> unproven_;
  struct Unfinished {
    std::uint64_t start = 0;
    bool abandoned = false;
  };
  std::vector<Unfinished> early_;      // in order
  std::uint64_t finished_ = 0;         // early records so far
  std::uint64_t finished_synced_ = 0;  // … of which a sync covers the data
  bool writing_ahead_ = false;
  bool round_running_ = false;
  bool failed_ = false;
  Error failure_;
  WaitQueue round_done_;
  WaitQueue ahead_done_;
  WaitQueue early_done_;
  WaitQueue room_;
  std::function<void()> pressure_;
  std::function<void()> advanced_;
};

// Redo applies what is trusted, in order.
class RecordSink {
 public:
  virtual ~RecordSink() = default;
  virtual Task<Result<>> apply(const Record& record) = 0;
};
struct JournalEnd {
  JournalPoint point;                  // the end of the chain
  std::uint64_t durable_sequence = 0;  // the last one that it carries
  std::vector<Record> tail;            // of the batches behind that one: to be verified
};
// Reads the chain of batches from `from` on, hands every record up to the last durable_sequence to `apply`,
// in order, and returns the others. Ends at the first batch that is not there whole.
Task<Result<JournalEnd>> replay_journal(JournalPlace place, Uuid store, JournalPoint from, RecordSink& sink);

// The highest sequence behind `end`, where replay has ended, that a batch still in the ring calls durable; 0
// if none does. A power cut leaves such batches behind too, but never one that calls durable what is not
// there: a batch is written after the sync of those that it speaks for. So this is damage, and flushed
// changes are lost.
Task<std::uint64_t> durable_beyond(JournalPlace place, Uuid store, JournalPoint end);
// Whether the batch that `point` stands behind is still in the ring.
Task<bool> ends_with_batch(JournalPlace place, Uuid store, JournalPoint point);

}  // namespace coppice
