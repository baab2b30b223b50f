// Free blocks and the space below them: given back to the file system, and fetched again.
#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "base/mutation.h"
#include "pool/allocator_slab.h"

namespace coppice {

std::uint64_t Allocator::unit_of(const Slab& slab) const {
  const std::uint64_t blocks = slab.layout.slab_blocks;
  return std::max(std::min(unit_blocks_, blocks), (blocks + kWordBits - 1) / kWordBits);
}

// Its data blocks: the first one of a slab holds metadata too.
PhysicalRun Allocator::unit_run(const Slab& slab, std::uint64_t unit) const {
  const std::uint64_t first = std::max(unit * unit_of(slab), slab.layout.first_data_block());
  const std::uint64_t end = std::min((unit + 1) * unit_of(slab), slab.layout.slab_blocks);
  return {slab.start.next(first), end - std::min(first, end)};
}

// A file of fixed size was asked for with all its space.
bool Allocator::gives_back(std::uint64_t member) const {
  return !no_punch_[member] && (pool_.superblock(member).grows || !pool_.file(member).room_bytes());
}

std::uint64_t Allocator::free_units(const Slab& slab) const {
  std::uint64_t units = 0;
  for (std::uint64_t unit = 0; unit * unit_of(slab) < slab.layout.slab_blocks; ++unit) {
    const PhysicalRun run = unit_run(slab, unit);
    const std::uint64_t first = run.first.block() - slab.start.block();
    if (run.count != 0 && find_bit<true>(slab.busy, first, first + run.count) == first + run.count)
      units |= std::uint64_t{1} << unit;
  }
  return units;
}

std::vector<PhysicalRun> Allocator::idle_units(bool settled) {
  std::vector<PhysicalRun> idle;
  if (mutated(Mutation::kPunchUnproven)) std::swap(idle, disowned_);
  for (Slab* slab : order_) {
    if (!gives_back(slab->start.member())) continue;
    slab->discarded &= ~slab->touched;
    const std::uint64_t now = free_units(*slab) & ~slab->touched;
    std::uint64_t found = settled ? now & slab->was_idle : 0;
    slab->was_idle = settled ? now : now & slab->was_idle;
    slab->touched = 0;
    for (found &= ~slab->discarded; found != 0; found &= found - 1)
      idle.push_back(unit_run(*slab, static_cast<std::uint64_t>(std::countr_zero(found))));
  }
  return idle;
}

bool Allocator::hold(PhysicalRun unit) {
  const Found found = find(unit.first);
  if (found.slab == nullptr) return false;
  Slab& slab = *found.slab;
  const std::uint64_t end = found.index + unit.count;
  if (find_bit<true>(slab.busy, found.index, end) != end) return false;
  for_each_word(found.index, unit.count,
                [&](std::uint64_t word, std::uint64_t mask) { slab.busy[word] |= mask; });
  slab.free -= unit.count;
  free_ -= unit.count;
  return true;
}

void Allocator::note_returned(PhysicalRun unit) {
  returned_.push_back(unit);
  returned_blocks_ += unit.count;
}

Task<Result<>> Allocator::punch(PhysicalRun unit) {
  BlockFile& file = pool_.file(unit.first.member());
  const std::uint64_t offset = unit.first.offset_bytes();
  const std::uint64_t bytes = unit.count * kBlockBytes;
  auto punched = co_await punch_blocks(file, offset, bytes);
  if (!punched && punched.error().errno_value == EOPNOTSUPP)
    punched = co_await in_background(pool_.scheduler(), [&] { return file.discard(offset, bytes); });
  co_return punched;
}

// Freed, and nothing proves it yet. Looked at by the mutation only.
bool Allocator::quarantined(PhysicalRun run) const {
  if (!mutated(Mutation::kPunchUnproven)) return false;
  const Found found = find(run.first);
  const std::uint64_t end = found.index + run.count;
  return found.slab != nullptr && find_bit<true>(found.slab->owned, found.index, end) == end &&
         find_bit<false>(found.slab->busy, found.index, end) == end;
}

Task<Result<>> Allocator::give_back(PhysicalRun unit) {
  co_await idle_lock_.lock();
  Result<> done;
  const std::uint64_t member = unit.first.member();
  if (quarantined(unit)) {
    done = co_await punch(unit);
  } else if (!no_punch_[member] && hold(unit)) {
    done = co_await punch(unit);
    const Found found = find(unit.first);
    found.slab->discarded |= std::uint64_t{1} << (found.index / unit_of(*found.slab));
    if (done && pool_.file(member).room_bytes()) {
      note_returned(unit);
    } else {
      cancel(unit);
    }
    if (!done && done.error().errno_value == EOPNOTSUPP) {
      no_punch_[member] = true;
      done = {};
    }
  }
  idle_lock_.unlock();
  co_return done;
}

void Allocator::note_holes() {
  for (Slab* slab : order_) {
    const std::uint64_t member = slab->start.member();
    BlockFile& file = pool_.file(member);
    if (!pool_.superblock(member).grows || !file.room_bytes()) continue;
    const auto hole_in = [&](PhysicalBlock first, std::uint64_t count) {
      const std::uint64_t end = first.offset_bytes() + count * kBlockBytes;
      return file.first_hole(first.offset_bytes(), end) < end;
    };
    if (!hole_in(slab->start, slab->layout.slab_blocks)) continue;
    for (std::uint64_t units = free_units(*slab); units != 0; units &= units - 1) {
      const PhysicalRun unit = unit_run(*slab, static_cast<std::uint64_t>(std::countr_zero(units)));
      if (hole_in(unit.first, unit.count) && hold(unit)) note_returned(unit);
    }
  }
}

// Space for one of the units without, on a file system that has so much more.
Result<PhysicalRun> Allocator::back_again(std::uint64_t spare_bytes) {
  for (std::size_t i = returned_.size(); i-- > 0;) {
    const PhysicalRun unit = returned_[i];
    const std::uint64_t bytes = unit.count * kBlockBytes;
    if (!pool_.fits(unit.first.member(), bytes + spare_bytes)) continue;
    auto reserved = pool_.file(unit.first.member()).reserve(unit.first.offset_bytes(), bytes);
    if (!reserved && reserved.error().kind == ErrorKind::kNoSpace) continue;
    if (!reserved) return std::unexpected(reserved.error());
    returned_[i] = returned_.back();
    returned_.pop_back();
    return unit;
  }
  return fail(ErrorKind::kNoSpace, ENOSPC, "the file system below the pool is full");
}

Task<Result<>> Allocator::take_back() {
  co_await idle_lock_.lock();
  Result<PhysicalRun> unit = refill_ ? Result<PhysicalRun>(refill_->unit) : back_again(0);
  if (unit) {
    refill_.reset();
    returned_blocks_ -= unit->count;
    cancel(*unit);
  }
  idle_lock_.unlock();
  if (!unit) co_return std::unexpected(unit.error());
  co_return Result<>{};
}

Task<Result<bool>> Allocator::refill(std::uint64_t most_bytes) {
  co_await idle_lock_.lock();
  auto step = co_await refill_locked(most_bytes);
  idle_lock_.unlock();
  co_return step;
}

Task<Result<bool>> Allocator::refill_locked(std::uint64_t most_bytes) {
  if (!refill_) {
    if (returned_.empty()) co_return false;
    // Ahead of need only as long as there is some room beside it.
    auto unit = back_again(returned_.back().count * kBlockBytes);
    if (!unit && unit.error().kind == ErrorKind::kNoSpace) co_return false;
    if (!unit) co_return std::unexpected(unit.error());
    refill_ = Refill{*unit, unit->first.offset_bytes()};
  }
  BlockFile& file = pool_.file(refill_->unit.first.member());
  const std::uint64_t end = refill_->unit.first.offset_bytes() + refill_->unit.count * kBlockBytes;
  const std::uint64_t from = round_down(file.first_hole(refill_->done_bytes, end), kBlockBytes);
  if (from < end) {
    AlignedBuffer zeroes(std::min(most_bytes, end - from));
    std::memset(zeroes.data(), 0, zeroes.size());
    const std::span<const std::byte> image = zeroes.span();
    auto written = co_await write_blocks(file, from, image);
    if (!written) co_return std::unexpected(written.error());
    refill_->done_bytes = from + zeroes.size();
    co_return true;
  }
  returned_blocks_ -= refill_->unit.count;
  cancel(refill_->unit);
  refill_.reset();
  co_return true;
}

}  // namespace coppice
