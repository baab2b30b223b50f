#include "pool/granules.h"

#include <algorithm>
#include <bit>
#include <cassert>

#include "base/mutation.h"
#include "pool/granule_slab.h"

namespace coppice {

namespace {

template <class Visit>
void for_each_bit(std::uint64_t bits, Visit visit) {
  for (; bits != 0; bits &= bits - 1) visit(static_cast<std::size_t>(std::countr_zero(bits)));
}

}  // namespace

Granules::Granules(Scheduler& scheduler, Pool& pool)
    : pool_(pool), slabs_(pool.members().size()), committed_(scheduler) {}
Granules::~Granules() = default;

void Granules::add_slab(std::uint64_t member, std::uint64_t slab) {
  assert(slabs_[member].size() == slab);
  auto added = std::make_unique<Slab>();
  added->start = pool_.slab_start(member, slab);
  order_.push_back(added.get());
  slabs_[member].push_back(std::move(added));
}

Granules::Place Granules::find(PhysicalRun run) const {
  const auto place = pool_.locate(run.first);
  if (!place || run.count == 0 || place->slab >= slabs_[place->member].size()) return {};
  if (run.count > pool_.slab_layout(place->member).slab_blocks - place->index) return {};
  const std::uint64_t first = place->index / kGranuleBlocks;
  const std::uint64_t last = (place->index + run.count - 1) / kGranuleBlocks;
  const std::uint64_t up_to_last = ~std::uint64_t{0} >> (kMaxGranules - 1 - last);
  return {slabs_[place->member][place->slab].get(), up_to_last & (~std::uint64_t{0} << first)};
}

bool Granules::marked(PhysicalRun run) const {
  if (mutated(Mutation::kUnmarkedGranule)) return true;
  const Place place = find(run);
  return place.slab != nullptr && (place.slab->active & place.granules) == place.granules;
}

void Granules::begin_write(PhysicalRun run) {
  const Place place = find(run);
  assert(place.slab != nullptr);
  place.slab->touched |= place.granules;
  for_each_bit(place.granules, [&](std::size_t granule) { ++place.slab->writes[granule]; });
}

void Granules::end_write(PhysicalRun run) {
  const Place place = find(run);
  assert(place.slab != nullptr);
  for_each_bit(place.granules, [&](std::size_t granule) {
    assert(place.slab->writes[granule] > 0);
    --place.slab->writes[granule];
  });
}

bool Granules::suspect(PhysicalBlock block) const {
  const Place place = find({block, 1});
  return place.slab != nullptr && (place.slab->suspects & place.granules) != 0;
}

void Granules::clear_suspect(PhysicalBlock granule_start) {
  const Place place = find({granule_start, 1});
  if (place.slab != nullptr) place.slab->suspects &= ~place.granules;
}

bool Granules::any_suspect() const {
  return std::any_of(order_.begin(), order_.end(), [](const Slab* slab) { return slab->suspects != 0; });
}

void Granules::clear_suspects() {
  for (Slab* slab : order_) slab->suspects = 0;
}

std::size_t Granules::take_idle() {
  std::size_t taken = 0;
  for (Slab* slab : order_) {
    // What was marked ahead has as long as others to be written to.
    std::uint64_t idle = slab->active & ~slab->touched & ~slab->ahead;
    for_each_bit(idle, [&](std::size_t granule) {
      if (slab->writes[granule] > 0) idle &= ~(std::uint64_t{1} << granule);
    });
    if (!mutated(Mutation::kMarkTakenLate)) slab->active &= ~idle;
    slab->taken |= idle;
    slab->touched = slab->ahead = 0;
    taken += static_cast<std::size_t>(std::popcount(idle));
  }
  return taken;
}

}  // namespace coppice
