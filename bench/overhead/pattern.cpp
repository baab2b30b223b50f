#include "overhead/pattern.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

namespace coppice::bench {

namespace {

constexpr std::uint64_t kMagic = 0x65636970706f6300;

constexpr unsigned kDiskShift = 40;

using Stamp = std::array<std::uint64_t, 2>;

Stamp stamp_of(std::uint64_t disk, std::uint64_t block, std::uint32_t number) {
  return {kMagic ^ (disk << kDiskShift) ^ block, number};
}

// Nothing if the block's two ends differ.
std::optional<Stamp> stamp_in(std::span<const std::byte> block) {
  Stamp first{};
  Stamp last{};
  std::memcpy(first.data(), block.data(), sizeof first);
  std::memcpy(last.data(), &block[kBlockBytes - sizeof last], sizeof last);
  if (first != last) return std::nullopt;
  return first;
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

Ledger::Ledger(std::uint64_t span_bytes) : numbers_(span_bytes / kBlockBytes) {
  static std::uint64_t disks = 0;
  disk_ = ++disks;
}

void Ledger::stamp(std::uint64_t offset_bytes, std::span<std::byte> memory) {
  std::uint64_t block = offset_bytes / kBlockBytes;
  for (std::size_t at = 0; at < memory.size(); at += kBlockBytes, ++block) {
    numbers_[block] = ++last_;
    const Stamp stamp = stamp_of(disk_, block, last_);
    std::memcpy(&memory[at], stamp.data(), sizeof stamp);
    std::memcpy(&memory[at + kBlockBytes - sizeof stamp], stamp.data(), sizeof stamp);
  }
}

bool Ledger::matches(std::uint64_t offset_bytes, std::span<const std::byte> memory, bool skip_number) const {
  std::uint64_t block = offset_bytes / kBlockBytes;
  for (std::size_t at = 0; at < memory.size(); at += kBlockBytes, ++block) {
    const auto found = stamp_in(memory.subspan(at, kBlockBytes));
    const Stamp expected = stamp_of(disk_, block, numbers_[block]);
    if (!found || (*found)[0] != expected[0]) return false;
    if (!skip_number && (*found)[1] != expected[1]) return false;
  }
  return true;
}

std::optional<std::uint64_t> Ledger::recognize(std::span<const std::byte> block) const {
  const auto found = stamp_in(block);
  if (!found) return std::nullopt;
  const std::uint64_t number = (*found)[0] ^ stamp_of(disk_, 0, 0)[0];
  if (number >= numbers_.size() || (*found)[1] != numbers_[number]) return std::nullopt;
  return number * kBlockBytes;
}

void fill_random(std::span<std::byte> memory, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (std::size_t at = 0; at + sizeof(std::uint64_t) <= memory.size(); at += sizeof(std::uint64_t)) {
    const std::uint64_t number = random();
    std::memcpy(&memory[at], &number, sizeof number);
  }
}

}  // namespace coppice::bench
