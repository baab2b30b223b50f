#include "map/leaf_cache.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <exception>
#include <utility>

namespace coppice {

namespace {

constexpr std::size_t kMinSlots = 64;
// About what an entry and its runs take at least; the table is made for as many as the limit admits, because
// growing it later stalls the data path.
constexpr std::size_t kSlotPerBytes = 128;
constexpr std::size_t kAllocationBytes = 16;  // what the heap adds to each piece of it
// Old versions of one leaf that stay in memory: finding one is a walk.
constexpr unsigned kChainLength = 8;
constexpr unsigned kTrimSteps = 2 * kChainLength;
constexpr unsigned kEvictSteps = 256;

std::size_t entry_bytes(const Entry& entry) {
  std::size_t bytes = sizeof(Entry);
  if (entry.leaf.heap_bytes() != 0) bytes += entry.leaf.heap_bytes() + kAllocationBytes;
  if (entry.overlay) bytes += sizeof(Overlay) + kAllocationBytes;
  return bytes;
}

bool same_place(const Entry* entry, BranchId branch, LeafIndex leaf) {
  return entry->index == leaf && entry->branch == branch;
}

}  // namespace

void LeafCache::FreeSlots::operator()(Entry** slots) const {
  munmap(static_cast<void*>(slots), bytes);
}

// Zeroes that take no memory until they are touched; then in huge pages where the system has some, as a
// look-up in small ones misses the TLB.
LeafCache::Slots LeafCache::make_slots(std::size_t count) {
  const std::size_t bytes = count * sizeof(Entry*);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::terminate();
  (void)madvise(memory, bytes, MADV_HUGEPAGE);
  return Slots(static_cast<Entry**>(memory), FreeSlots{bytes});
}

LeafCache::LeafCache(std::size_t limit_bytes)
    : slot_count_(std::bit_ceil(std::max(kMinSlots, limit_bytes / kSlotPerBytes))),
      slots_(make_slots(slot_count_)),
      limit_bytes_(limit_bytes) {
  resident_bytes_ = slot_count_ * sizeof(Entry*);
}

LeafCache::~LeafCache() {
  for (std::size_t slot = 0; slot < slot_count_; ++slot) {
    for (Entry* entry = slots_[slot]; entry != nullptr;) pool_.drop(std::exchange(entry, entry->older));
  }
}

std::size_t LeafCache::home(BranchId branch, LeafIndex leaf) const {
  const std::uint64_t mixed = (leaf.value + branch.value * 0xd6e8feb86659fd93ULL) * 0x9e3779b97f4a7c15ULL;
  return static_cast<std::size_t>(mixed >> (64 - std::countr_zero(slot_count_)));
}

std::size_t LeafCache::slot_of(BranchId branch, LeafIndex leaf) const {
  std::size_t slot = home(branch, leaf);
  while (slots_[slot] != nullptr && !same_place(slots_[slot], branch, leaf))
    slot = (slot + 1) & (slot_count_ - 1);
  return slot;
}

Entry* LeafCache::head(BranchId branch, LeafIndex leaf) const {
  return slots_[slot_of(branch, leaf)];
}

Entry* LeafCache::covering(View view, LeafIndex leaf) const {
  for (Entry* entry = head(view.branch, leaf); entry != nullptr; entry = entry->older) {
    if (entry->version <= view.epoch && !entry->erased)
      return view.epoch <= entry->valid_to ? entry : nullptr;
  }
  return nullptr;
}

Entry* LeafCache::newest_version(View view, LeafIndex leaf) const {
  for (Entry* entry = head(view.branch, leaf); entry != nullptr; entry = entry->older) {
    if (entry->version <= view.epoch && entry->is_version()) return entry;
  }
  return nullptr;
}

Entry* LeafCache::exact(const LeafKey& key) const {
  for (Entry* entry = head(key.branch, key.leaf); entry != nullptr; entry = entry->older) {
    if (entry->version < key.version || entry->inherited) return nullptr;  // newest first, inherited last
    if (entry->version == key.version) return entry;
  }
  return nullptr;
}

Entry* LeafCache::inherited(BranchId branch, LeafIndex leaf) const {
  for (Entry* entry = head(branch, leaf); entry != nullptr; entry = entry->older) {
    if (entry->inherited) return entry;
  }
  return nullptr;
}

Entry* LeafCache::insert(Made made) {
  if ((chains_ + 1) * 4 > slot_count_ * 3) grow();
  Entry* entry = made.release();
  Entry** place = &slots_[slot_of(entry->branch, entry->index)];
  if (*place == nullptr) ++chains_;
  while (*place != nullptr && (*place)->version >= entry->version && !(*place)->inherited)
    place = &(*place)->older;
  entry->older = *place;
  *place = entry;
  entry->referenced = true;
  recount(entry);
  if (entry->older != nullptr) trim(head(entry->branch, entry->index));
  return entry;
}

void LeafCache::trim(Entry* chain) {
  Entry* entry = chain;
  for (unsigned step = 0; step < kTrimSteps && entry != nullptr; ++step, entry = entry->older) {
    if (step >= kChainLength && may_leave(entry)) return remove(entry);
  }
}

void LeafCache::remove(Entry* entry) {
  const std::size_t slot = slot_of(entry->branch, entry->index);
  Entry** place = &slots_[slot];
  while (*place != entry) place = &(*place)->older;
  *place = entry->older;
  if (slots_[slot] == nullptr) free_slot(slot);
  resident_bytes_ -= entry->bytes;
  entry->orphaned = true;
  release(entry);
}

void LeafCache::release(Entry* entry) {
  if (!entry->orphaned || entry->pins != 0) return;
  if (entry->overlay && entry->overlay->batches != 0) return;
  pool_.drop(entry);
}

void LeafCache::grow() {
  const std::size_t old_count = slot_count_;
  Slots old = std::exchange(slots_, make_slots(slot_count_ * 2));
  slot_count_ *= 2;
  resident_bytes_ += old_count * sizeof(Entry*);
  for (std::size_t slot = 0; slot < old_count; ++slot) {
    if (old[slot] != nullptr) slots_[slot_of(old[slot]->branch, old[slot]->index)] = old[slot];
  }
}

// Closes the gap, so that probing never has to pass a grave.
void LeafCache::free_slot(std::size_t slot) {
  --chains_;
  const std::size_t mask = slot_count_ - 1;
  std::size_t gap = slot;
  for (std::size_t next = (gap + 1) & mask; slots_[next] != nullptr; next = (next + 1) & mask) {
    const std::size_t wanted = home(slots_[next]->branch, slots_[next]->index);
    if (((next - wanted) & mask) < ((next - gap) & mask)) continue;
    slots_[gap] = slots_[next];
    gap = next;
  }
  slots_[gap] = nullptr;
}

void LeafCache::recount(Entry* entry) {
  const auto bytes = static_cast<std::uint32_t>(entry_bytes(*entry));
  if (!entry->orphaned) resident_bytes_ += std::size_t{bytes} - entry->bytes;
  entry->bytes = bytes;
}

bool LeafCache::may_leave(const Entry* entry) {
  if (entry->overlay) return false;
  for (; entry != nullptr; entry = entry->older) {
    if (entry->pins != 0) return false;
  }
  return true;
}

// One entry of the slot's chain that has not been used since the hand passed last.
bool LeafCache::evict_from(std::size_t slot) {
  for (Entry* entry = slots_[slot]; entry != nullptr; entry = entry->older) {
    if (!may_leave(entry)) continue;
    if (!std::exchange(entry->referenced, false)) {
      remove(entry);
      return true;
    }
  }
  return false;
}

// A slot that lost its chain may have got the next one: looked at again.
void LeafCache::evict_to_limit() {
  for (unsigned step = 0; step < kEvictSteps && over_limit(); ++step) {
    if (!evict_from(hand_)) hand_ = (hand_ + 1) & (slot_count_ - 1);
  }
}

}  // namespace coppice
