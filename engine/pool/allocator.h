// Allocator: which blocks of the pool are free.
//
// Two bitmaps per slab in memory. `busy`: may not be handed out (allocated, being written, or quarantined).
// `owned`: what staged records say is allocated; this is the one that reaches disk, through checkpoints, so
// that a crash never leaks what was only being written. owned ⊆ busy.
// A third, `unproven`: mapped by a record that is not yet known durable; such a block is never overwritten in
// place.
// Space can be *given back*: free blocks whose place in the file was punched. They are busy as long as they
// have no space, so that what is handed out always has some, and come back with take_back() or refill().
// Metadata blocks of a slab are busy and owned from the start and never freed.
// Threads: the store's scheduler; nothing here suspends but the page I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "coppice/aligned_buffer.h"
#include "coppice/result.h"
#include "coppice/scheduler.h"
#include "coppice/task.h"
#include "layout/record.h"
#include "pool/block_set.h"
#include "pool/pool.h"

namespace coppice {

class Allocator {
 public:
  explicit Allocator(Pool& pool);
  ~Allocator();

  // Reads the bitmaps of all slabs that the superblocks name. A page of which a copy is damaged is
  // *doubtful*: the other one may be the older. Of such a page every block counts as owned, so that nothing
  // in it is handed out, and it is not written, until rebuild(). A slab header that is damaged is noted; one
  // that speaks of another slab is kCorrupt.
  Task<Result<>> load();
  [[nodiscard]] std::uint64_t doubtful_pages() const;
  // All blocks of the pool, none of them in it, to be filled with those that the map names.
  [[nodiscard]] BlockSet no_blocks() const;
  // Makes the doubtful pages what `mapped` says. kCorrupt, with nothing changed, where that does not agree
  // with the pages that are whole: then it can't be trusted for the others either. They are written by the
  // next checkpoint, and both copies are whole when rewrite_rebuilt() and another one follow.
  Result<> rebuild(const BlockSet& mapped);
  void rewrite_rebuilt();
  struct SlabName {
    std::uint64_t member = 0;
    std::uint64_t slab = 0;
  };
  [[nodiscard]] const std::vector<SlabName>& damaged_headers() const { return damaged_headers_; }
  // Makes a new slab known (after Pool::add_slab).
  void add_slab(std::uint64_t member, std::uint64_t slab);

  // Takes `count` blocks for a request as few runs as possible: one run at `goal` if free there, else the
  // first run long enough behind a moving cursor, else the longest pieces. All or nothing; false (nothing
  // taken) when fewer are free. Taken blocks are busy, not owned.
  bool allocate(std::uint64_t count, PhysicalBlock goal, std::vector<PhysicalRun>& into);
  // Gives back what allocate() took and no record names.
  void cancel(PhysicalRun run);

  // Takes the run, whatever of it is free: the copy of the metadata stands there, which no record names.
  // False if a block of it is owned. Idempotent.
  bool keep(PhysicalRun run);

  // A record that names the run was staged: it becomes owned (redo: also busy).
  void own(PhysicalRun run);
  // A record that frees the run was staged: no longer owned, still busy (quarantine) until release().
  void disown(PhysicalRun run);
  // Leaves quarantine: blocks of the run that are not owned become free. (In a redo a later record may own
  // again what an earlier one freed.)
  void release(PhysicalRun run);

  void set_unproven(PhysicalRun run);
  void clear_unproven(PhysicalRun run);
  [[nodiscard]] bool unproven(PhysicalBlock block) const;

  [[nodiscard]] bool owned(PhysicalBlock block) const;  // false for addresses outside all slabs
  // What is owned now, to be asked later.
  class OwnedCopy {
   public:
    [[nodiscard]] bool owned(PhysicalBlock block) const;
    [[nodiscard]] std::uint64_t data_blocks() const { return data_blocks_; }

   private:
    friend class Allocator;
    explicit OwnedCopy(const Pool& pool) : pool_(pool) {}
    const Pool& pool_;
    std::vector<std::vector<std::vector<std::uint64_t>>> bitmaps_;  // [member][slab]
    std::uint64_t data_blocks_ = 0;
  };
  [[nodiscard]] OwnedCopy copy_owned() const;
  [[nodiscard]] std::uint64_t free_blocks() const;  // not busy
  [[nodiscard]] std::uint64_t owned_data_blocks() const;
  [[nodiscard]] std::uint64_t data_blocks() const;     // capacity of all slabs
  [[nodiscard]] bool contains(PhysicalRun run) const;  // wholly inside the data area of one slab

  // Giving space back, in units: a slab's granules, or as long as there are at most 64 of them.
  void set_unit(std::uint64_t blocks) { unit_blocks_ = blocks; }
  // Units that are free, and were at the last call as well, without one of their blocks handed out between.
  // `settled`: what was free at that call is free in the last checkpoint. If not, nothing, and what was free
  // then is asked for again next time.
  [[nodiscard]] std::vector<PhysicalRun> idle_units(bool settled);
  // Punches such a unit if it is still free, so that no block of it is handed out meanwhile. A device that
  // can't give anything back is not asked again.
  Task<Result<>> give_back(PhysicalRun unit);
  // Free units of growing files that have no space, or none that was written: as if given back.
  void note_holes();
  [[nodiscard]] bool can_take_back() const { return !returned_.empty() || refill_; }
  [[nodiscard]] std::uint64_t returned_blocks() const { return returned_blocks_; }
  // One unit gets its space again and is free. kNoSpace when its file system has none.
  Task<Result<>> take_back();
  // The same in steps, ahead of need, with zeroes written, at most `most_bytes` a step. False when nothing is
  // left to do, or the file system has little room.
  Task<Result<bool>> refill(std::uint64_t most_bytes);

  // Checkpoint: page images of `owned` that changed since they were last collected. Between collect() and
  // write() the caller commits the journal, so that no page is ahead of it. What was collected must be
  // written before it is collected again.
  struct PageImage;
  [[nodiscard]] std::vector<PageImage> collect_dirty(std::size_t max_pages);
  // Writes each to the copy that is not the current one. The caller syncs before it writes again: the
  // older copy is the durable one until then. After a failure the pages are dirty again.
  Task<Result<>> write(std::vector<PageImage> pages, std::uint64_t sequence);

  // Pages of which one copy did not verify when loaded (a torn write, or decay). They are written anew by the
  // next checkpoint.
  [[nodiscard]] std::uint64_t repaired_pages() const { return repaired_pages_; }

 private:
  struct Slab;
  struct Found {
    Slab* slab = nullptr;
    std::uint64_t index = 0;
  };
  [[nodiscard]] Found find(PhysicalBlock block) const;  // slab = nullptr outside of all
  bool take_at(PhysicalBlock goal, std::uint64_t count, std::vector<PhysicalRun>& into);
  bool take_next_fit(std::uint64_t count, std::vector<PhysicalRun>& into);
  void take_pieces(std::uint64_t count, std::vector<PhysicalRun>& into);
  std::uint64_t sweep(Slab& slab, std::uint64_t want, std::uint64_t most, std::vector<PhysicalRun>& into);
  void take(Slab& slab, std::uint64_t index, std::uint64_t count, std::vector<PhysicalRun>& into);
  void set_free(PhysicalRun run);
  Result<> adopt(Slab& slab, std::span<const std::byte> front);
  struct Refill {
    PhysicalRun unit;
    std::uint64_t done_bytes = 0;  // of its file, up to where zeroes stand
  };
  [[nodiscard]] std::uint64_t unit_of(const Slab& slab) const;
  [[nodiscard]] PhysicalRun unit_run(const Slab& slab, std::uint64_t unit) const;
  [[nodiscard]] bool gives_back(std::uint64_t member) const;
  [[nodiscard]] std::uint64_t free_units(const Slab& slab) const;
  bool hold(PhysicalRun unit);
  [[nodiscard]] bool quarantined(PhysicalRun run) const;
  void note_returned(PhysicalRun unit);
  Result<PhysicalRun> back_again(std::uint64_t spare_bytes);
  Task<Result<>> punch(PhysicalRun unit);
  Task<Result<bool>> refill_locked(std::uint64_t most_bytes);

  Pool& pool_;
  std::vector<std::vector<std::unique_ptr<Slab>>> slabs_;  // [member][slab]
  std::vector<Slab*> order_;                               // all slabs, as they are searched
  std::size_t cursor_slab_ = 0;                            // where the search goes on: a slab in order_,
  std::uint64_t cursor_index_ = 0;                         // a block in it
  std::uint64_t free_ = 0;
  std::uint64_t owned_data_ = 0;
  std::uint64_t unproven_ = 0;
  std::uint64_t data_ = 0;
  std::uint64_t repaired_pages_ = 0;
  std::vector<SlabName> damaged_headers_;
  std::uint64_t unit_blocks_ = kGranuleBlocks;
  AsyncMutex idle_lock_;               // held while a unit loses or gets its space
  std::vector<PhysicalRun> returned_;  // units without space, busy
  std::optional<Refill> refill_;       // one more, with space, not all of it written
  std::uint64_t returned_blocks_ = 0;  // of both
  std::vector<bool> no_punch_;         // by member: its device can't
  std::vector<PhysicalRun> disowned_;  // for the mutation
};

struct Allocator::PageImage {
  AlignedBuffer bytes;
  Slab* slab = nullptr;
  std::size_t page = 0;
};

}  // namespace coppice
