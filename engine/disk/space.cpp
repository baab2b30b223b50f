#include "disk/space.h"

#include <cerrno>
#include <optional>

namespace coppice {

bool settle_pending(Parts& parts, std::size_t most_runs) {
  const bool freed = parts.pending.settle(parts.journal.proven(), most_runs);
  if (freed) parts.space_freed.wake_all();
  return freed;
}

namespace {

class OutOfSpace {
 public:
  explicit OutOfSpace(Parts& parts) : parts_(parts) { ++parts_.out_of_space; }
  ~OutOfSpace() { --parts_.out_of_space; }
  OutOfSpace(const OutOfSpace&) = delete;
  OutOfSpace& operator=(const OutOfSpace&) = delete;

 private:
  Parts& parts_;
};

Task<Result<>> grow(Parts& parts, std::uint64_t wanted_blocks) {
  co_await parts.growing.lock();
  // What is free already may only not have been settled yet; and another writer may have grown the pool while
  // this one waited.
  settle_pending(parts);
  if (parts.allocator.free_blocks() >= wanted_blocks) {
    parts.growing.unlock();
    co_return Result<>{};
  }
  // Space that was given back comes first: it is there already but for its backing.
  Result<> back;
  while (back && parts.allocator.can_take_back() && parts.allocator.free_blocks() < wanted_blocks)
    back = co_await parts.allocator.take_back();
  if (parts.allocator.free_blocks() >= wanted_blocks || (!back && back.error().kind != ErrorKind::kNoSpace)) {
    parts.growing.unlock();
    co_return back;
  }
  auto added = co_await parts.pool.add_slab();
  if (added) {
    parts.allocator.add_slab(added->member, added->slab);
    parts.granules.add_slab(added->member, added->slab);
  }
  parts.growing.unlock();
  if (!added) co_return std::unexpected(added.error());
  co_return Result<>{};
}

}  // namespace

Task<Result<>> take_blocks(Parts& parts, std::uint64_t count, PhysicalBlock goal,
                           std::vector<PhysicalRun>& into) {
  bool can_grow = parts.pool.can_grow() || parts.allocator.can_take_back();
  std::optional<OutOfSpace> waiting;
  while (!parts.allocator.allocate(count, goal, into)) {
    if (can_grow) {
      auto grown = co_await grow(parts, count);
      if (grown) continue;
      if (grown.error().kind != ErrorKind::kNoSpace) co_return grown;
      can_grow = false;
      continue;
    }
    if (!waiting) waiting.emplace(parts);
    // What was freed but waits in quarantine comes back with its proof.
    if (parts.pending.quarantined_blocks() != 0) {
      auto proven = co_await parts.journal.prove();
      if (!proven) co_return proven;
      if (settle_pending(parts)) continue;
      co_await sleep_for(parts.scheduler, std::chrono::milliseconds(1));
      continue;
    }
    if (!parts.reclaim_under_way()) {
      auto given = co_await parts.give_up_copy();
      if (!given) co_return std::unexpected(given.error());
      if (*given) continue;
      const bool made = co_await parts.make_room();
      if (made) continue;
      co_return fail(ErrorKind::kNoSpace, ENOSPC, "the pool is full");
    }
    co_await parts.space_freed.wait();
  }
  co_return Result<>{};
}

Task<Result<bool>> take_spare_blocks(Parts& parts, std::uint64_t count, std::vector<PhysicalRun>& into) {
  if (parts.allocator.allocate(count, PhysicalBlock{0}, into)) co_return true;
  if (settle_pending(parts) && parts.allocator.allocate(count, PhysicalBlock{0}, into)) co_return true;
  if (!parts.pool.can_grow() && !parts.allocator.can_take_back()) co_return false;
  auto grown = co_await grow(parts, count);
  if (!grown && grown.error().kind != ErrorKind::kNoSpace) co_return std::unexpected(grown.error());
  const bool taken = grown && parts.allocator.allocate(count, PhysicalBlock{0}, into);
  co_return taken;
}

}  // namespace coppice
