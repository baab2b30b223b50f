#include "map/leaf_cache.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <exception>
#include <utility>

namespace coppice {

namespace {

constexpr std::size_t kGroupSlots = 64;
constexpr std::size_t kMinSlots = kGroupSlots;
// About what an entry and its runs take at least; the table is made for as many as the limit admits, because
// growing it later stalls the data path.
constexpr std::size_t kSlotPerBytes = 128;
constexpr std::size_t kAllocationBytes = 16;  // what the heap adds to each piece of it
constexpr std::size_t kChainLooks = 16;
constexpr std::size_t kChainPart = 8;
constexpr std::size_t kChainRoom = 4;
constexpr std::size_t kChainSlack = 4;  // times what it holds, else it gives room back
// The table has a slot for each 64 to 128 bytes and an entry takes 104 or more, so this finds room for
// several where there are any that may leave; where there are none it is spent for nothing with every
// request.
constexpr unsigned kEvictSteps = 128;

std::size_t entry_bytes(const Entry& entry) {
  std::size_t bytes = sizeof(Entry);
  if (entry.leaf.heap_bytes() != 0) bytes += entry.leaf.heap_bytes() + kAllocationBytes;
  if (entry.overlay) bytes += sizeof(Overlay) + kAllocationBytes;
  return bytes;
}

std::size_t chain_bytes(const Chain& chain) {
  return sizeof(Chain) + chain.links.capacity() * sizeof(Link) + kAllocationBytes;
}

// What a look-up reads of an entry stands in two lines of the processor's cache: fetched together.
bool same_place(const Entry* entry, BranchId branch, LeafIndex leaf) {
  __builtin_prefetch(&entry->valid_to);
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
    Entry* newest = slots_[slot];
    if (newest == nullptr) continue;
    if (newest->chain == nullptr) {
      pool_.drop(newest);
      continue;
    }
    Chain* chain = newest->chain;
    for (const Link& link : chain->links) pool_.drop(link.entry);
    chain_pool_.drop(chain);
  }
}

std::size_t LeafCache::home(BranchId branch, LeafIndex leaf) const {
  const std::uint64_t group = leaf.value / kGroupSlots + branch.value * 0xd6e8feb86659fd93ULL;
  const std::uint64_t mixed = group * 0x9e3779b97f4a7c15ULL;
  // Turned within its group, or leaves a power of two apart would all want one place in theirs.
  const std::uint64_t place = (leaf.value ^ mixed >> 32) % kGroupSlots;
  return static_cast<std::size_t>(mixed >> 1 >> (63 - std::countr_zero(slot_count_ / kGroupSlots))) *
             kGroupSlots +
         place;
}

std::size_t LeafCache::following(std::size_t slot) const {
  const std::size_t next = slot + kGroupSlots;
  return next < slot_count_ ? next : (next + 1) % kGroupSlots;
}

std::size_t LeafCache::distance(std::size_t from, std::size_t to) const {
  const std::size_t groups = slot_count_ / kGroupSlots;
  const auto order = [groups](std::size_t slot) { return slot % kGroupSlots * groups + slot / kGroupSlots; };
  return (order(to) - order(from)) & (slot_count_ - 1);
}

std::size_t LeafCache::slot_of(BranchId branch, LeafIndex leaf) const {
  std::size_t slot = home(branch, leaf);
  while (slots_[slot] != nullptr && !same_place(slots_[slot], branch, leaf)) slot = following(slot);
  return slot;
}

std::span<const Link> LeafCache::chain(BranchId branch, LeafIndex leaf, Link& only) const {
  Entry* newest = slots_[slot_of(branch, leaf)];
  if (newest == nullptr) return {};
  if (newest->chain != nullptr) return newest->chain->links;
  only = {newest->version, newest};
  return {&only, 1};
}

namespace {

// How many of the chain are of the epoch or older. Mostly it is asked for the newest.
std::size_t up_to(std::span<const Link> chain, Epoch epoch) {
  if (chain.empty() || chain.back().version <= epoch) return chain.size();
  const auto newer = std::ranges::upper_bound(chain, epoch, {}, &Link::version);
  return static_cast<std::size_t>(newer - chain.begin());
}

}  // namespace

Entry* LeafCache::covering(View view, LeafIndex leaf) const {
  // Mostly it is the newest, which the slot points at: neither the chain nor its links are read then.
  Entry* newest = slots_[slot_of(view.branch, leaf)];
  if (newest == nullptr) return nullptr;
  if (newest->version <= view.epoch && !newest->erased)
    return view.epoch <= newest->valid_to ? newest : nullptr;
  if (newest->chain == nullptr) return nullptr;
  const std::vector<Link>& links = newest->chain->links;
  for (std::size_t i = up_to(links, view.epoch); i-- > 0;) {
    Entry* entry = links[i].entry;
    if (!entry->erased) return view.epoch <= entry->valid_to ? entry : nullptr;
  }
  return nullptr;
}

Entry* LeafCache::newest_version(View view, LeafIndex leaf) const {
  Link only;
  const auto links = chain(view.branch, leaf, only);
  for (std::size_t i = up_to(links, view.epoch); i-- > 0;) {
    if (links[i].entry->is_version()) return links[i].entry;
  }
  return nullptr;
}

Entry* LeafCache::next_version(View view, LeafIndex leaf) const {
  Link only;
  const auto links = chain(view.branch, leaf, only);
  for (const Link& link : links.subspan(up_to(links, view.epoch))) {
    if (link.entry->is_version()) return link.entry;
  }
  return nullptr;
}

Entry* LeafCache::exact(const LeafKey& key) const {
  Link only;
  const auto links = chain(key.branch, key.leaf, only);
  const std::size_t older = up_to(links, key.version);
  if (older == 0) return nullptr;
  const Link& link = links[older - 1];
  return link.version == key.version && !link.entry->inherited ? link.entry : nullptr;
}

Entry* LeafCache::inherited(BranchId branch, LeafIndex leaf) const {
  Link only;
  const auto links = chain(branch, leaf, only);
  return !links.empty() && links.front().entry->inherited ? links.front().entry : nullptr;
}

Entry* LeafCache::insert(Made made) {
  if ((chains_ + 1) * 4 > slot_count_ * 3) grow();
  Entry* entry = made.release();
  Entry*& slot = slots_[slot_of(entry->branch, entry->index)];
  if (slot == nullptr) {
    ++chains_;
    slot = entry;
  } else {
    add_to_chain(slot, entry);
  }
  entry->referenced = true;
  recount(entry);
  return entry;
}

void LeafCache::add_to_chain(Entry*& slot, Entry* entry) {
  if (slot->chain == nullptr) {
    slot->chain = chain_pool_.make().release();
    slot->chain->links.reserve(kChainRoom);
    slot->chain->links.push_back({slot->version, slot});
    slot->chain->overlays = slot->overlay ? 1 : 0;
    resident_bytes_ += chain_bytes(*slot->chain);
  }
  Chain& chain = *slot->chain;
  entry->chain = &chain;
  resident_bytes_ -= chain_bytes(chain);
  const auto place = static_cast<std::ptrdiff_t>(up_to(chain.links, entry->version));
  chain.links.insert(chain.links.begin() + place, {entry->version, entry});
  resident_bytes_ += chain_bytes(chain);
  slot = chain.links.back().entry;
}

// Behind what has left it.
void LeafCache::settle_chain(std::size_t slot, Chain& chain) {
  std::vector<Link>& links = chain.links;
  if (links.size() > 1) {
    slots_[slot] = links.back().entry;
    if (links.size() >= links.capacity() / kChainSlack) return;
    resident_bytes_ -= chain_bytes(chain);
    links.shrink_to_fit();
    resident_bytes_ += chain_bytes(chain);
    return;
  }
  if (links.empty()) {
    free_slot(slot);
  } else {
    slots_[slot] = links.back().entry;
    slots_[slot]->chain = nullptr;
  }
  resident_bytes_ -= chain_bytes(chain);
  chain_pool_.drop(&chain);
}

void LeafCache::remove(Entry* entry) {
  const std::size_t slot = slot_of(entry->branch, entry->index);
  if (entry->chain == nullptr) {
    free_slot(slot);
  } else {
    Chain& chain = *entry->chain;
    std::vector<Link>& links = chain.links;
    const auto place = std::ranges::lower_bound(links, entry->version, {}, &Link::version);
    links.erase(std::find_if(place, links.end(), [entry](const Link& link) { return link.entry == entry; }));
    if (entry->overlay) --chain.overlays;
    settle_chain(slot, chain);
  }
  let_go(entry);
}

// It is in no chain any more.
void LeafCache::let_go(Entry* entry) {
  entry->chain = nullptr;
  resident_bytes_ -= entry->bytes;
  entry->orphaned = true;
  release(entry);
}

void LeafCache::release(Entry* entry) {
  if (!entry->orphaned || entry->pins != 0) return;
  if (entry->overlay && entry->overlay->batches != 0) return;
  pool_.drop(entry);
}

void LeafCache::add_overlay(Entry* entry) {
  entry->overlay = std::make_unique<Overlay>();
  if (entry->chain != nullptr) ++entry->chain->overlays;
}

void LeafCache::drop_overlay(Entry* entry) {
  entry->overlay.reset();
  if (entry->chain != nullptr) --entry->chain->overlays;
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
  std::size_t gap = slot;
  for (std::size_t next = following(gap); slots_[next] != nullptr; next = following(next)) {
    const std::size_t wanted = home(slots_[next]->branch, slots_[next]->index);
    if (distance(wanted, next) < distance(gap, next)) continue;
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

// What has not been used since the hand passed last.
bool LeafCache::evict_from(std::size_t slot) {
  Entry* newest = slots_[slot];
  if (newest == nullptr) return false;
  if (newest->chain != nullptr) return evict_from_chain(slot, *newest->chain);
  if (newest->pins != 0 || newest->overlay || std::exchange(newest->referenced, false)) return false;
  remove(newest);
  return true;
}

// The oldest first, for one that is held keeps all newer ones. A few at a time: a long chain is gone through
// as the hand comes round.
bool LeafCache::evict_from_chain(std::size_t slot, Chain& chain) {
  std::vector<Link>& links = chain.links;
  std::size_t looks =
      std::min(links.size() - chain.overlays, std::max(kChainLooks, links.size() / kChainPart));
  std::size_t kept = 0;
  std::size_t at = 0;
  for (; looks != 0 && at < links.size() && links[at].entry->pins == 0; ++at) {
    Entry* entry = links[at].entry;
    if (!entry->overlay) --looks;
    if (entry->overlay || std::exchange(entry->referenced, false)) {
      links[kept++] = links[at];
    } else {
      let_go(entry);
    }
  }
  if (kept == at) return false;
  const auto begin = links.begin();
  links.erase(begin + static_cast<std::ptrdiff_t>(kept), begin + static_cast<std::ptrdiff_t>(at));
  settle_chain(slot, chain);
  return true;
}

// A slot that lost its chain may have got the next one: looked at again.
void LeafCache::evict_to_limit() {
  for (unsigned step = 0; step < kEvictSteps && over_limit(); ++step) {
    if (!evict_from(hand_)) hand_ = (hand_ + 1) & (slot_count_ - 1);
  }
}

}  // namespace coppice
