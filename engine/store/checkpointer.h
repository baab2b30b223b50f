// Checkpointer: moves what the journal holds into RocksDB and the pool's pages, so that the ring can be
// reused.
//
// Fuzzy: writes go on. Everything that is copied is first covered by a commit of the journal and only then
// written, so nothing on disk is ever ahead of the journal; redo from the checkpoint's start over a half-done
// one gives the right state, since records are absolute. All that goes to RocksDB goes through here, and to
// the copy of the metadata in the pool first (meta_copy.h). The last batch carries the new start and is
// synced; only then is the ring trimmed and are idle granules' marks cleared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "disk/parts.h"
#include "map/meta_store.h"
#include "store/meta_copy.h"

namespace coppice {

// How the map is written. A guest's look-up that has to ask RocksDB waits behind one batch on its way there.
struct CheckpointOptions {
  std::size_t batch_bytes = std::size_t{96} << 10;
  std::size_t step_bytes = std::size_t{32} << 10;  // of a batch, without a turn of the guests in between
  std::size_t batches = 64;                        // under one sync of the copy: 6 MiB and more
};

class Checkpointer {
 public:
  Checkpointer(Parts& parts, MetaStore& meta, MetaCopy& copy)
      : parts_(parts), meta_(meta), copy_(copy), running_(parts.scheduler) {}

  // A recovery's first one writes the pages before the map, so that one which dies in between can be done
  // again (docs/durability.md, rule 28).
  enum class Order : std::uint8_t { kMapFirst, kPagesFirst };
  void set_options(const CheckpointOptions& options) { options_ = options; }
  // One at a time; a second caller waits and then makes its own.
  Task<Result<>> run(Order order = Order::kMapFirst);
  // Whether a full file system below the map is waited for, or is a failure. Patient while the store is open.
  void set_patient(bool patient) { patient_ = patient; }
  // What is changed in the map beside checkpoints: `make` reads it and says how, with no batch on its way to
  // the map meanwhile. Committed before it is written: all that is staged when `make` is done.
  using MakeBatch = std::function<Task<Result<MetaBatch>>()>;
  Task<Result<>> edit(const MakeBatch& make);
  // How many have begun, and how many are whole.
  [[nodiscard]] std::uint64_t begun() const { return begun_; }
  [[nodiscard]] std::uint64_t finished() const { return finished_; }
  // From pause() to resume() no batch is on its way to the map.
  Task<void> pause() { co_await running_.lock(); }
  void resume() { running_.unlock(); }
  [[nodiscard]] bool running() const { return running_.held(); }

 private:
  Task<Result<>> checkpoint(Order order);
  Task<Result<>> write_map();
  Task<bool> collect_batch(MetaBatch& batch);
  Task<Result<>> write_start(JournalPoint start);
  Task<Result<>> write_pages();
  Task<void> let_go_of_collected();
  Task<Result<>> write_batch(const MetaBatch& batch, bool sync);

  Parts& parts_;
  MetaStore& meta_;
  MetaCopy& copy_;
  CheckpointOptions options_;
  AsyncMutex running_;
  std::uint64_t begun_ = 0;
  std::uint64_t finished_ = 0;
  bool patient_ = false;
};

}  // namespace coppice
