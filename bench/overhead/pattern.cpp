#include "overhead/pattern.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

namespace coppice::bench {

namespace {

constexpr std::uint64_t kMagic = 0x65636970706f6300;

using Stamp = std::array<std::uint64_t, 2>;

Stamp stamp_of(std::uint64_t block, std::uint32_t number) {
  return {kMagic ^ block, number};
}

}  // namespace

Walk::Walk(std::uint64_t span_bytes, std::uint64_t step_bytes, bool sequential, std::uint64_t seed)
    : step_bytes_(step_bytes), places_(span_bytes / step_bytes) {
  if (sequential) return;
  order_.resize(places_);
  std::iota(order_.begin(), order_.end(), 0U);
  std::ranges::shuffle(order_, std::mt19937_64(seed));
}

std::uint64_t Walk::next() {
  const std::uint64_t turn = visited_++ % places_;
  return (order_.empty() ? turn : order_[turn]) * step_bytes_;
}

void Ledger::stamp(std::uint64_t offset_bytes, std::span<std::byte> memory) {
  std::uint64_t block = offset_bytes / kBlockBytes;
  for (std::size_t at = 0; at < memory.size(); at += kBlockBytes, ++block) {
    numbers_[block] = ++last_;
    const Stamp stamp = stamp_of(block, last_);
    std::memcpy(&memory[at], stamp.data(), sizeof stamp);
    std::memcpy(&memory[at + kBlockBytes - sizeof stamp], stamp.data(), sizeof stamp);
  }
}

bool Ledger::matches(std::uint64_t offset_bytes, std::span<const std::byte> memory, bool skip_number) const {
  std::uint64_t block = offset_bytes / kBlockBytes;
  for (std::size_t at = 0; at < memory.size(); at += kBlockBytes, ++block) {
    Stamp first{};
    Stamp last{};
    std::memcpy(first.data(), &memory[at], sizeof first);
    std::memcpy(last.data(), &memory[at + kBlockBytes - sizeof last], sizeof last);
    const Stamp expected = stamp_of(block, numbers_[block]);
    if (first != last || first[0] != expected[0]) return false;
    if (!skip_number && first[1] != expected[1]) return false;
  }
  return true;
}

void fill_random(std::span<std::byte> memory, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (std::size_t at = 0; at + sizeof(std::uint64_t) <= memory.size(); at += sizeof(std::uint64_t)) {
    const std::uint64_t number = random();
    std::memcpy(&memory[at], &number, sizeof number);
  }
}

}  // namespace coppice::bench
