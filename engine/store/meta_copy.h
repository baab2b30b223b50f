// MetaCopy: the copy of the metadata in the pool, kept while the store runs (layout/meta_copy.h).
//
// Invariant: base and log together hold every batch that the MetaStore was given, up to a checkpoint whose
// start of redo the ring still reaches; so RocksDB may be lost. Three orders keep it (docs/durability.md,
// "The copy of the metadata"): a batch is durable in the log before the MetaStore is given it; what a
// superblock names is durable before it, and what it named is used for nothing else before a later one is.
// The blocks are busy, never owned: no record and no bitmap page knows them, the superblock alone does. Where
// the pool has no space the copy is given up, and made again when there is some. Threads: the store's
// scheduler; it is not on the path of a write or a flush.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "map/meta_store.h"
#include "pool/allocator.h"
#include "store/meta_chain.h"

namespace coppice {

struct CopyOptions {
  std::uint64_t segment_blocks = 64;                         // at least, if there are so many
  std::uint64_t least_log_blocks = 1024;                     // a log below this is never made into a new base
  std::uint64_t bytes_per_second = std::uint64_t{32} << 20;  // of a base that is made beside other work
  std::chrono::nanoseconds retry = std::chrono::seconds(30);
};

class MetaCopy {
 public:
  // False where there is no space; nothing is taken then.
  using Take = std::function<Task<Result<bool>>(std::uint64_t count, std::vector<PhysicalRun>& into)>;

  MetaCopy(Scheduler& scheduler, Pool& pool, Allocator& allocator, Notice notice);
  ~MetaCopy();
  void set_take(Take take) { take_ = std::move(take); }
  void set_options(const CopyOptions& options) { options_ = options; }

  // Finds what the superblock names, and the log's end. `applied`: the MetaStore's start of redo; a log that
  // ends before it has missed a batch. A copy that can't be gone on with is left behind, with a notice.
  Task<Result<>> open(std::uint64_t applied);
  // Its blocks are busy from now on. Before anything is allocated, and again behind what may have freed them.
  void keep();

  // Behind a commit of all that the batches speak of, and before the MetaStore is given the first of them:
  // durable when it returns, under one sync, and the next superblock says so. `applied`: the batch of the
  // journal behind which redo starts then, or 0.
  Task<Result<>> append(std::span<const MetaBatch> batches, std::uint64_t applied);

  // A base is due: there is none, or the log has outgrown it.
  [[nodiscard]] bool wants_base() const;
  [[nodiscard]] bool log_is_long() const;
  // Captures the MetaStore as it is; the log goes on in a new segment. No batch may be on its way meanwhile.
  // False: not now.
  Task<Result<bool>> begin_base(MetaStore& meta);
  // Writes what was captured and puts it in the place of the old base and of the log before it. Gives up when
  // `stop` becomes true, or beyond `most_bytes`. Fails only if the pool does.
  enum class Pace : std::uint8_t { kBackground, kAtOnce };
  Task<Result<>> write_base(const bool& stop, Pace pace, std::uint64_t most_bytes);

  // Its space for a writer that finds none. False if that gives nothing.
  Task<Result<bool>> give_up();
  // It does not verify: the next base replaces it.
  void renew() { renew_ = true; }

  [[nodiscard]] bool whole() const { return place_.whole(); }
  [[nodiscard]] std::uint64_t blocks() const { return base_.blocks() + log_.blocks(); }

 private:
  struct Capture;
  [[nodiscard]] bool active() const { return !log_.empty(); }
  [[nodiscard]] std::uint64_t free_needed() const;
  Task<Result<>> find_end(std::uint64_t applied);
  Task<Result<std::vector<PhysicalRun>>> take(std::uint64_t chain_blocks);
  Task<Result<>> extend(MetaChain& chain);
  Task<Result<>> put(MetaChain& chain, std::span<const std::byte> payload, std::uint64_t applied);
  using Families = std::vector<std::unique_ptr<MetaIterator>>;
  static Families look(MetaStore& meta);
  Task<Result<bool>> begin_locked(MetaStore& meta, Families captured);
  Task<Result<>> fill_base(MetaChain& base, const bool& stop, Pace pace, std::uint64_t most_bytes);
  Task<Result<>> switch_to(MetaChain& base);
  Task<Result<>> switch_locked(MetaChain& base);
  Task<Result<>> drop();
  Task<Result<>> drop_full();
  void set_place(const MetaCopyPlace& place);
  void free(const std::vector<PhysicalRun>& runs);
  [[nodiscard]] std::uint64_t new_id();
  void set_mark();
  void hold_off();
  void tell(const std::string& text) const {
    if (notice_) notice_(text);
  }

  Scheduler& scheduler_;
  Pool& pool_;
  Allocator& allocator_;
  Notice notice_;
  Take take_;
  CopyOptions options_;
  AsyncMutex lock_;  // around the log and the place
  MetaCopyPlace place_;
  MetaChain base_;
  MetaChain log_;
  std::uint64_t chains_ = 0;      // begun by this process
  std::uint64_t applied_ = 0;     // in the log
  std::uint64_t generation_ = 0;  // counts drops and failures: a base being made notices
  std::unique_ptr<Capture> capture_;
  bool making_base_ = false;
  WaitQueue base_made_;
  bool renew_ = false;
  bool told_ = false;
  std::chrono::nanoseconds not_before_{};
  std::uint64_t needed_blocks_ = 0;  // free, before it is tried again
};

}  // namespace coppice
