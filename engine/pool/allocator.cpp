#include "pool/allocator.h"

#include <algorithm>
#include <cassert>

#include "base/mutation.h"
#include "pool/allocator_slab.h"

namespace coppice {

namespace {
// A free run this long serves any request; to measure it further would be wasted.
constexpr std::uint64_t kLongRun = kMaxRequestBytes / kBlockBytes;
}  // namespace

Allocator::Slab::Slab(PhysicalBlock slab_start, SlabLayout slab_layout)
    : start(slab_start),
      layout(slab_layout),
      busy(layout.slab_blocks / kWordBits),
      owned(busy),
      unproven(busy),
      free(layout.data_blocks()),
      longest_run(free),
      pages(layout.bitmap_pages()) {
  for_each_word(0, layout.first_data_block(), [&](std::uint64_t word, std::uint64_t mask) {
    busy[word] |= mask;
    owned[word] |= mask;
  });
}

std::uint64_t Allocator::Slab::find_run(std::uint64_t from, std::uint64_t count) {
  const std::uint64_t end = layout.slab_blocks;
  const bool whole = from <= layout.first_data_block();
  std::uint64_t longest = 0;
  for (std::uint64_t at = find_bit<false>(busy, from, end); at < end;) {
    const std::uint64_t run_end = find_bit<true>(busy, at, std::min(end, at + count));
    if (run_end - at >= count) return at;
    longest = std::max(longest, run_end - at);
    at = find_bit<false>(busy, run_end, end);
  }
  if (whole) longest_run = longest;
  return end;
}

void Allocator::Slab::note_free_run(std::uint64_t index, std::uint64_t count) {
  const std::uint64_t low = index - std::min(index, kLongRun);
  const std::uint64_t high = std::min(layout.slab_blocks, index + count + kLongRun);
  const std::uint64_t merged = zeroes_before(busy, index, low) + find_bit<true>(busy, index, high) - index;
  longest_run = merged >= kLongRun ? layout.slab_blocks : std::max(longest_run, merged);
}

Allocator::Allocator(Pool& pool)
    : pool_(pool),
      slabs_(pool.members().size()),
      idle_lock_(pool.scheduler()),
      no_punch_(pool.members().size()) {}
Allocator::~Allocator() = default;

void Allocator::add_slab(std::uint64_t member, std::uint64_t slab) {
  assert(slabs_[member].size() == slab);
  auto added = std::make_unique<Slab>(pool_.slab_start(member, slab), pool_.slab_layout(member));
  free_ += added->free;
  data_ += added->free;
  order_.push_back(added.get());
  slabs_[member].push_back(std::move(added));
}

Allocator::Found Allocator::find(PhysicalBlock block) const {
  const auto place = pool_.locate(block);
  if (!place || place->slab >= slabs_[place->member].size()) return {};
  return {slabs_[place->member][place->slab].get(), place->index};
}

bool Allocator::contains(PhysicalRun run) const {
  const Found found = find(run.first);
  return found.slab != nullptr && found.index >= found.slab->layout.first_data_block() &&
         run.count <= found.slab->layout.slab_blocks - found.index;
}

bool Allocator::allocate(std::uint64_t count, PhysicalBlock goal, std::vector<PhysicalRun>& into) {
  if (count > free_) return false;
  if (count == 0 || take_at(goal, count, into) || take_next_fit(count, into)) return true;
  take_pieces(count, into);
  return true;
}

void Allocator::take(Slab& slab, std::uint64_t index, std::uint64_t count, std::vector<PhysicalRun>& into) {
  for_each_word(index, count, [&](std::uint64_t word, std::uint64_t mask) {
    assert((slab.busy[word] & mask) == 0);
    slab.busy[word] |= mask;
  });
  slab.free -= count;
  free_ -= count;
  for (std::uint64_t at = index / unit_of(slab); at <= (index + count - 1) / unit_of(slab); ++at)
    slab.touched |= std::uint64_t{1} << at;
  into.push_back({slab.start.next(index), count});
}

bool Allocator::take_at(PhysicalBlock goal, std::uint64_t count, std::vector<PhysicalRun>& into) {
  const Found found = find(goal);
  if (found.slab == nullptr || count > found.slab->layout.slab_blocks - found.index) return false;
  const std::uint64_t end = found.index + count;
  if (find_bit<true>(found.slab->busy, found.index, end) != end) return false;
  take(*found.slab, found.index, count, into);
  return true;
}

bool Allocator::take_next_fit(std::uint64_t count, std::vector<PhysicalRun>& into) {
  for (std::size_t i = 0; i <= order_.size(); ++i) {
    const std::size_t at = (cursor_slab_ + i) % order_.size();
    Slab& slab = *order_[at];
    if (slab.longest_run < count || slab.free < count) continue;
    // The slab of the cursor comes first from the cursor on, and last from its start.
    const std::uint64_t index = slab.find_run(i == 0 ? cursor_index_ : 0, count);
    if (index == slab.layout.slab_blocks) continue;
    take(slab, index, count, into);
    cursor_slab_ = at;
    cursor_index_ = index + count;
    return true;
  }
  return false;
}

// Halves the length it wants until it has enough. Enough is free: the last round takes single blocks.
void Allocator::take_pieces(std::uint64_t count, std::vector<PhysicalRun>& into) {
  for (std::uint64_t want = count; count > 0;) {
    std::uint64_t longest = 0;
    for (const Slab* slab : order_) longest = std::max(longest, slab->longest_run);
    want = std::max<std::uint64_t>(std::min({want / 2, longest, count}), 1);
    for (std::size_t i = 0; i < order_.size() && count > 0; ++i)
      count -= sweep(*order_[(cursor_slab_ + i) % order_.size()], want, count, into);
  }
}

// Takes the slab's runs of at least `want` blocks, up to `most` blocks in all; returns how many.
std::uint64_t Allocator::sweep(Slab& slab, std::uint64_t want, std::uint64_t most,
                               std::vector<PhysicalRun>& into) {
  if (slab.longest_run < want) return 0;
  const std::uint64_t end = slab.layout.slab_blocks;
  std::uint64_t left = most;
  for (std::uint64_t at = slab.find_run(0, want); at < end; at = slab.find_run(at, want)) {
    const std::uint64_t run_end = find_bit<true>(slab.busy, at, std::min(end, at + left));
    take(slab, at, run_end - at, into);
    left -= run_end - at;
    if (left == 0) return most;
    at = run_end;
  }
  slab.longest_run = std::min(slab.longest_run, want - 1);
  return most - left;
}

void Allocator::set_free(PhysicalRun run) {
  assert(contains(run));
  const Found found = find(run.first);
  Slab& slab = *found.slab;
  std::uint64_t freed = 0;
  for_each_word(found.index, run.count, [&](std::uint64_t word, std::uint64_t mask) {
    const std::uint64_t bits = slab.busy[word] & mask & ~slab.owned[word];
    slab.busy[word] &= ~bits;
    unproven_ -= count_bits(slab.unproven[word] & bits);
    slab.unproven[word] &= ~bits;
    freed += count_bits(bits);
  });
  slab.free += freed;
  free_ += freed;
  // Any free block may be the next: this one would be the worst.
  if (mutated(Mutation::kRedoFreesAtOnce) || mutated(Mutation::kQuarantineIgnoresReads) ||
      mutated(Mutation::kCopyFreedEarly)) {
    cursor_slab_ = static_cast<std::size_t>(std::ranges::find(order_, &slab) - order_.begin());
    cursor_index_ = found.index;
  }
  if (freed == run.count) {
    slab.note_free_run(found.index, run.count);
  } else if (freed > 0) {
    slab.longest_run = slab.layout.slab_blocks;
  }
}

void Allocator::cancel(PhysicalRun run) {
  set_free(run);
}

void Allocator::release(PhysicalRun run) {
  set_free(run);
}

bool Allocator::keep(PhysicalRun run) {
  if (!contains(run)) return false;
  const Found found = find(run.first);
  Slab& slab = *found.slab;
  bool nobodys = true;
  for_each_word(found.index, run.count, [&](std::uint64_t word, std::uint64_t mask) {
    const std::uint64_t taken = count_bits(mask & ~slab.busy[word]);
    slab.free -= taken;
    free_ -= taken;
    slab.busy[word] |= mask;
    nobodys &= (slab.owned[word] & mask) == 0;
  });
  return nobodys;
}

void Allocator::own(PhysicalRun run) {
  assert(contains(run));
  const Found found = find(run.first);
  Slab& slab = *found.slab;
  for_each_word(found.index, run.count, [&](std::uint64_t word, std::uint64_t mask) {
    const std::uint64_t taken = count_bits(mask & ~slab.busy[word]);
    slab.free -= taken;
    free_ -= taken;
    slab.busy[word] |= mask;
    const std::uint64_t added = mask & ~slab.owned[word];
    if (added == 0) return;
    owned_data_ += count_bits(added);
    slab.owned[word] |= added;
    slab.mark_page_dirty(word * kWordBits);
  });
}

void Allocator::disown(PhysicalRun run) {
  assert(contains(run));
  if (mutated(Mutation::kPunchUnproven)) disowned_.push_back(run);
  const Found found = find(run.first);
  Slab& slab = *found.slab;
  for_each_word(found.index, run.count, [&](std::uint64_t word, std::uint64_t mask) {
    const std::uint64_t removed = mask & slab.owned[word];
    if (removed == 0) return;
    owned_data_ -= count_bits(removed);
    slab.owned[word] &= ~removed;
    slab.mark_page_dirty(word * kWordBits);
  });
}

void Allocator::set_unproven(PhysicalRun run) {
  assert(contains(run));
  const Found found = find(run.first);
  for_each_word(found.index, run.count, [&](std::uint64_t word, std::uint64_t mask) {
    unproven_ += count_bits(mask & ~found.slab->unproven[word]);
    found.slab->unproven[word] |= mask;
  });
}

void Allocator::clear_unproven(PhysicalRun run) {
  assert(contains(run));
  const Found found = find(run.first);
  for_each_word(found.index, run.count, [&](std::uint64_t word, std::uint64_t mask) {
    unproven_ -= count_bits(mask & found.slab->unproven[word]);
    found.slab->unproven[word] &= ~mask;
  });
}

bool Allocator::unproven(PhysicalBlock block) const {
  if (unproven_ == 0) return false;  // as it is where all is written in place
  const Found found = find(block);
  return found.slab != nullptr && test_bit(found.slab->unproven, found.index);
}

bool Allocator::owned(PhysicalBlock block) const {
  const Found found = find(block);
  return found.slab != nullptr && test_bit(found.slab->owned, found.index);
}

std::uint64_t Allocator::free_blocks() const {
  return free_;
}
Allocator::OwnedCopy Allocator::copy_owned() const {
  OwnedCopy copy(pool_);
  copy.data_blocks_ = owned_data_;
  for (const auto& member : slabs_) {
    auto& bitmaps = copy.bitmaps_.emplace_back();
    for (const auto& slab : member) bitmaps.push_back(slab->owned);
  }
  return copy;
}

bool Allocator::OwnedCopy::owned(PhysicalBlock block) const {
  const auto place = pool_.locate(block);
  if (!place || place->slab >= bitmaps_[place->member].size()) return false;
  return test_bit(bitmaps_[place->member][place->slab], place->index);
}

std::uint64_t Allocator::owned_data_blocks() const {
  return owned_data_;
}
std::uint64_t Allocator::data_blocks() const {
  return data_;
}

}  // namespace coppice
