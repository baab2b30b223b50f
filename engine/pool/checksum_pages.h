// ChecksumPages: the checksum of every allocated block, in pages of 1,020, cached.
//
// Clean pages are evicted beyond the limit, each when it was not used since it was looked at the last time;
// dirty ones wait for the checkpoint. A page of which neither copy verifies loads as *damaged*: its checksums
// are unknown and reads of its blocks fail with kCorrupt; set() makes single entries known again.
// On disk and in memory an entry of 0 means unknown: no block_checksum() is 0.
// A page that is being loaded is loaded once; those who want it wait together.
// Threads: the store's scheduler. get() and set() on a resident page neither suspend nor allocate.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/intrusive_list.h"
#include "base/object_pool.h"
#include "coppice/aligned_buffer.h"
#include "coppice/result.h"
#include "coppice/scheduler.h"
#include "coppice/task.h"
#include "layout/record.h"
#include "pool/pool.h"

namespace coppice {

class ChecksumPages {
 public:
  ChecksumPages(Scheduler& scheduler, Pool& pool, std::size_t limit_bytes);
  ~ChecksumPages();

  // Makes all pages of the run resident and pins them until unpin(). Fails only if reading a page failed
  // with an I/O error (nothing is pinned then).
  Task<Result<>> pin(PhysicalRun run);
  void unpin(PhysicalRun run);
  // True if all pages are resident; then they are pinned (the fast path of pin).
  bool try_pin(PhysicalRun run);

  // The page is pinned. Nothing where the checksum is unknown.
  [[nodiscard]] std::optional<std::uint32_t> get(PhysicalBlock block);
  void set(PhysicalBlock first, std::span<const std::uint32_t> checksums);
  // The entry becomes unknown: a failed in-place write whose content could not be read back.
  void set_unknown(PhysicalBlock block);

  [[nodiscard]] std::size_t dirty_pages() const { return dirty_.size(); }
  [[nodiscard]] std::size_t resident_pages() const { return pages_; }
  // As the Allocator's: collect, commit the journal, write, sync. Pages come in the order in which they
  // became dirty; what was collected stays in memory until it is written, and must be.
  struct PageImage;
  [[nodiscard]] std::vector<PageImage> collect_dirty(std::size_t max_pages);
  Task<Result<>> write(std::vector<PageImage> pages, std::uint64_t sequence);

 private:
  struct Page;
  struct Load;
  using Table = std::vector<Page*>;  // the pages of a slab, null where not resident

  // Where the page of a block is kept.
  [[nodiscard]] Page** slot(const SlabPlace& place);
  // Calls visit(slot, address of the page's copy 0) for each page of a run that the pool covers.
  template <class Visit>
  void for_each_page(PhysicalRun run, Visit visit);
  [[nodiscard]] bool covers(PhysicalRun run) const;  // at least a block, all in one slab
  static void hold(Page& page);
  void let_go(Page*& page);
  void drop(Page*& page);
  void make_dirty(Page& page);
  void settle(Page& page);
  void trim();
  void start_loads(PhysicalRun run, std::vector<Load>& loads);
  void finish_load(Load& load);
  Task<Result<>> wait_until_loaded(PhysicalRun run);

  Pool& pool_;
  std::size_t limit_pages_;
  ObjectPool<Page> memory_;
  std::vector<std::vector<Table>> tables_;  // [member][slab]
  IntrusiveList<Page> clean_;               // in the order in which trim() looks at them
  IntrusiveList<Page> dirty_;               // oldest first
  std::size_t pages_ = 0;
  WaitQueue loaded_;
};

struct ChecksumPages::PageImage {
  AlignedBuffer bytes;
  Page* page = nullptr;
};

}  // namespace coppice
